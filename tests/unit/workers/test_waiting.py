"""`wait_first` waits for the first of several futures, a signal and a time limit; `wait_for_end` for one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workers.attempt.waiting import StopSignal, wait_first, wait_for_end
from support.virtual_time import BEGINNING, in_virtual_time, running_loop, until_idle


class WatchedSignal(StopSignal):
    """Knows its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.listening: list[Callable[[], None]] = []

    def add_callback(self, callback: Callable[[], None]) -> None:
        super().add_callback(callback)
        self.listening.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        super().remove_callback(callback)
        self.listening.remove(callback)


class WatchedFuture(asyncio.Future[int]):
    """Knows its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callable[[Any], object]] = []

    def add_done_callback(self, callback: Callable[[Any], object], /, *, context: Any = None) -> None:
        super().add_done_callback(callback, context=context)
        self.callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        self.callbacks = [kept for kept in self.callbacks if kept is not callback]
        return super().remove_done_callback(callback)


@in_virtual_time
async def test_there_is_no_wait_if_a_future_is_already_done() -> None:
    done, pending = WatchedFuture(), WatchedFuture()
    done.set_result(1)

    with pytest.raises(StopIteration):
        wait_first(pending, done, seconds=9).send(None)

    assert pending.callbacks == []
    assert running_loop().timers == []


@in_virtual_time
async def test_there_is_no_wait_if_the_signal_is_already_set() -> None:
    stop, pending = WatchedSignal(), WatchedFuture()
    stop.set()

    with pytest.raises(StopIteration):
        wait_first(pending, stop=stop, seconds=9).send(None)

    assert (stop.listening, pending.callbacks) == ([], [])


@pytest.mark.parametrize("place", [0, 1, 2])
@in_virtual_time
async def test_any_finished_future_ends_the_wait(place: int) -> None:
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    running_loop().call_later(2, futures[place].set_result, None)

    await wait_first(*futures, stop=StopSignal(), seconds=9)

    assert [future.done() for future in futures] == [index == place for index in range(3)]
    assert running_loop().passed == 2


@in_virtual_time
async def test_a_future_that_fails_ends_the_wait_and_keeps_its_error() -> None:
    future = asyncio.get_running_loop().create_future()
    error = ValueError("of the future")
    running_loop().call_later(2, future.set_exception, error)

    await wait_first(future)

    assert future.exception() is error


@in_virtual_time
async def test_a_future_that_is_cancelled_ends_the_wait_and_not_the_waiter() -> None:
    future = asyncio.get_running_loop().create_future()
    running_loop().call_later(2, future.cancel)

    await wait_first(future, seconds=9)

    assert running_loop().passed == 2


@in_virtual_time
async def test_the_signal_ends_the_wait_and_leaves_the_futures_alone() -> None:
    stop, future = StopSignal(), asyncio.get_running_loop().create_future()
    running_loop().call_later(2, stop.set)

    await wait_first(future, stop=stop, seconds=9)

    assert running_loop().passed == 2
    assert not future.done()


@in_virtual_time
async def test_the_wait_ends_when_its_time_is_over_and_leaves_the_futures_alone() -> None:
    future = asyncio.get_running_loop().create_future()

    await wait_first(future, stop=StopSignal(), seconds=2.5)

    assert running_loop().passed == 2.5
    assert not future.done()


@pytest.mark.parametrize("seconds", [0, -1, -1e9, float("nan")])
@in_virtual_time
async def test_a_time_limit_that_is_not_positive_ends_the_wait_at_once(seconds: float) -> None:
    await wait_first(asyncio.get_running_loop().create_future(), seconds=seconds)

    assert running_loop().passed == 0


@in_virtual_time
async def test_a_wait_without_a_time_limit_lasts_until_a_future_ends() -> None:
    future = asyncio.get_running_loop().create_future()
    running_loop().call_later(86_400, future.set_result, None)

    await wait_first(future)

    assert running_loop().passed == 86_400


@in_virtual_time
async def test_simultaneous_events_wake_the_waiter_once() -> None:
    stop, futures = StopSignal(), [asyncio.get_running_loop().create_future() for _ in range(2)]
    waiter = asyncio.create_task(wait_first(*futures, stop=stop, seconds=9))
    await until_idle()

    stop.set()
    for future in futures:
        future.set_result(None)

    await asyncio.wait({waiter})
    assert waiter.exception() is None


@in_virtual_time
async def test_several_waiters_may_share_a_signal() -> None:
    stop = WatchedSignal()
    waiters = [asyncio.create_task(wait_first(stop=stop)) for _ in range(3)]
    await until_idle()
    before = len(stop.listening)

    stop.set()
    await asyncio.gather(*waiters)

    assert (before, stop.listening) == (3, [])


@pytest.mark.parametrize("end", ["future", "signal", "time", "cancellation"])
@in_virtual_time
async def test_a_wait_leaves_no_callbacks_and_no_timer_behind(end: str) -> None:
    stop, futures = WatchedSignal(), [WatchedFuture(), WatchedFuture()]
    waiter = asyncio.create_task(wait_first(*futures, futures[0], stop=stop, seconds=9))
    await asyncio.sleep(0)
    (timer,) = running_loop().timers
    before = (len(stop.listening), [len(future.callbacks) for future in futures])

    act: dict[str, Callable[[], object]] = {
        "future": lambda: futures[1].set_result(1),
        "signal": stop.set,
        "time": lambda: None,
        "cancellation": waiter.cancel,
    }
    act[end]()
    await asyncio.wait({waiter})

    assert before == (1, [2, 1])
    assert (stop.listening, [future.callbacks for future in futures]) == ([], [[], []])
    assert timer.cancelled()


@in_virtual_time
async def test_a_cancelled_waiter_does_not_cancel_its_futures() -> None:
    future = asyncio.get_running_loop().create_future()
    waiter = asyncio.create_task(wait_first(future))
    await until_idle()

    waiter.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not future.done()


MOMENTS = st.none() | st.integers(min_value=1, max_value=5)


@given(st.lists(MOMENTS, max_size=4), MOMENTS, st.integers(min_value=1, max_value=5))
@in_virtual_time
async def test_a_wait_ends_with_the_earliest_future_signal_or_time_limit(
    ends: list[int | None], stops: int | None, seconds: int
) -> None:
    loop, stop = running_loop(), StopSignal()
    futures = [loop.create_future() for _ in ends]
    for future, moment in zip(futures, ends, strict=True):
        if moment is not None:
            loop.call_later(moment, future.set_result, None)
    if stops is not None:
        loop.call_later(stops, stop.set)

    await wait_first(*futures, stop=stop, seconds=seconds)

    assert loop.passed == min(moment for moment in (*ends, stops, seconds) if moment is not None)


@pytest.mark.parametrize(
    ("ends_at", "deadline", "expected"),
    [(2, None, 2), (None, None, 9), (None, 4, 4), (3, 4, 3), (None, 20, 9)],
)
@pytest.mark.parametrize("is_set", [False, True])
@in_virtual_time
async def test_a_deadline_that_is_set_meanwhile_shortens_the_wait_for_an_end(
    ends_at: int | None, deadline: int | None, expected: int, *, is_set: bool
) -> None:
    loop, stop = running_loop(), WatchedSignal()
    future = loop.create_future()
    if is_set:
        stop.set()
    if ends_at is not None:
        loop.call_later(ends_at, future.set_result, None)

    def stop_by_deadline() -> None:
        stop.deadline = None if deadline is None else BEGINNING + deadline
        stop.set()

    loop.call_later(1, stop_by_deadline)

    await wait_for_end(future, stop, 9)

    assert (loop.passed, stop.listening) == (expected, [])
