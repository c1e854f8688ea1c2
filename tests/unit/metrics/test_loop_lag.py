"""How late the loop is: the largest delay of the last minute, and one that lasts."""

import asyncio

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.tasks import cancel_and_wait


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_punctual_loop_has_no_lag() -> None:
    time = Time()
    lag = LoopLag(time)

    for _ in range(10):
        time.now += 0.5
        lag.tick()

    assert lag.seconds == 0.0


def test_a_delay_counts_for_a_minute() -> None:
    time = Time()
    lag = LoopLag(time)
    time.now += 3.0
    lag.tick()
    seen = []

    for _ in range(150):
        time.now += 0.5
        lag.tick()
        seen.append(lag.seconds)

    assert seen[:120] == [2.5] * 120
    assert seen[-1] == 0.0


def test_a_delay_that_lasts_counts_before_it_ends() -> None:
    time = Time()
    lag = LoopLag(time)
    lag.tick()

    time.now += 7.0

    assert (lag.silent_seconds, lag.seconds) == (7.0, 6.5)


def test_the_largest_delay_counts_and_after_it_the_next() -> None:
    time = Time()
    lag = LoopLag(time)
    for delay in (4.5, 1.5, 2.5):
        time.now += delay
        lag.tick()
    first = lag.seconds

    while time.now < 100.0 + 4.5 + 61.0:
        time.now += 0.5
        lag.tick()

    assert (first, lag.seconds) == (4.0, 2.0)


async def test_the_time_before_the_loop_runs_is_no_lag() -> None:
    time = Time()
    lag = LoopLag(time)
    time.now += 20.0

    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)  # the first tick
    await cancel_and_wait([task])

    assert (lag.silent_seconds, lag.seconds) == (0.0, 0.0)
