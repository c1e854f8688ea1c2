"""The pause before a failed connection or process is started again."""

from headrace.adapters.retry_pause import RetryPause


def test_each_pause_is_twice_the_last_up_to_a_maximum() -> None:
    pause = RetryPause(min_seconds=0.5, max_seconds=3.0)

    assert [pause.next_seconds() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_pauses_start_over_after_a_reset() -> None:
    pause = RetryPause(min_seconds=0.5, max_seconds=3.0)
    pause.next_seconds()
    pause.next_seconds()

    pause.reset()

    assert [pause.next_seconds() for _ in range(2)] == [0.5, 1.0]
