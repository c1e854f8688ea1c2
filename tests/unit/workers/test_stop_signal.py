"""Stop signals are set once and call their callbacks back."""

from headrace.workers.attempt.waiting import StopSignal


def test_a_new_signal_is_not_set() -> None:
    assert StopSignal().is_set is False


def test_a_signal_stays_set() -> None:
    signal = StopSignal()

    signal.set()
    signal.set()

    assert signal.is_set is True


def test_listeners_are_called_in_the_order_in_which_they_came() -> None:
    signal, called = StopSignal(), list[str]()
    signal.add_callback(lambda: called.append("first"))
    signal.add_callback(lambda: called.append("second"))

    signal.set()

    assert called == ["first", "second"]


def test_a_listener_finds_the_signal_set() -> None:
    signal, states = StopSignal(), list[bool]()
    signal.add_callback(lambda: states.append(signal.is_set))

    signal.set()

    assert states == [True]


def test_nobody_is_called_before_the_signal_is_set() -> None:
    signal, called = StopSignal(), list[str]()

    signal.add_callback(lambda: called.append("early"))

    assert called == []


def test_a_listener_that_was_forgotten_is_not_called() -> None:
    signal, called = StopSignal(), list[str]()

    def leaving() -> None:
        called.append("leaving")

    signal.add_callback(leaving)
    signal.add_callback(lambda: called.append("staying"))
    signal.remove_callback(leaving)

    signal.set()

    assert called == ["staying"]


def test_a_listener_that_leaves_when_it_is_called_does_not_hide_the_next() -> None:
    signal, called = StopSignal(), list[str]()

    def leaving() -> None:
        called.append("leaving")
        signal.remove_callback(leaving)

    signal.add_callback(leaving)
    signal.add_callback(lambda: called.append("next"))

    signal.set()

    assert called == ["leaving", "next"]
