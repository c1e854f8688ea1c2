"""A stop signal is set once, and then calls its callbacks."""

from headrace.workers.attempt.waiting import StopSignal


def test_a_new_signal_is_not_set() -> None:
    assert StopSignal().is_set is False


def test_a_signal_stays_set() -> None:
    signal = StopSignal()

    signal.set()
    signal.set()

    assert signal.is_set is True


def test_callbacks_are_called_in_the_order_of_registration() -> None:
    signal, called = StopSignal(), list[str]()
    signal.add_callback(lambda: called.append("first"))
    signal.add_callback(lambda: called.append("second"))

    signal.set()

    assert called == ["first", "second"]


def test_a_callback_sees_the_signal_as_set() -> None:
    signal, states = StopSignal(), list[bool]()
    signal.add_callback(lambda: states.append(signal.is_set))

    signal.set()

    assert states == [True]


def test_no_callback_is_called_before_the_signal_is_set() -> None:
    signal, called = StopSignal(), list[str]()

    signal.add_callback(lambda: called.append("early"))

    assert called == []


def test_a_removed_callback_is_not_called() -> None:
    signal, called = StopSignal(), list[str]()

    def leaving() -> None:
        called.append("leaving")

    signal.add_callback(leaving)
    signal.add_callback(lambda: called.append("staying"))
    signal.remove_callback(leaving)

    signal.set()

    assert called == ["staying"]


def test_a_callback_that_removes_itself_does_not_hide_the_next() -> None:
    signal, called = StopSignal(), list[str]()

    def leaving() -> None:
        called.append("leaving")
        signal.remove_callback(leaving)

    signal.add_callback(leaving)
    signal.add_callback(lambda: called.append("next"))

    signal.set()

    assert called == ["leaving", "next"]
