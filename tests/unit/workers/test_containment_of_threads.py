"""Exceptions of an author's code in daemon threads stay errors of the step."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from headrace.workers.containment import StepLeftError, call_in_thread
from support.patience import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The exceptions that escape from threads of the test; there must be none."""
    raised: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: raised.append(repr(failure.exc_value)))
    yield raised
    assert raised == []


def fail(error: BaseException) -> None:
    raise error


async def wait_for_end(thread: threading.Thread) -> None:
    """Wait until *thread* is idle, and for the callbacks that its call scheduled in the loop."""
    await asyncio.to_thread(wait_until_idle, thread)


def wait_until_idle(thread: threading.Thread) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while thread.is_alive() and thread.name != "headrace-idle":
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_the_value_of_a_call_is_returned() -> None:
    assert await call_in_thread("adding", lambda left, right: left + right, 3, 4) == 7


async def test_none_is_returned_like_any_other_value() -> None:
    future = call_in_thread("nothing", lambda: None)
    await asyncio.wait({future}, timeout=PATIENCE_SECONDS)

    assert future.result() is None


def current() -> tuple[threading.Thread, str]:
    return threading.current_thread(), threading.current_thread().name


async def test_each_call_runs_in_a_daemon_thread_with_the_given_name() -> None:
    (first, first_name), (second, second_name) = (
        await call_in_thread("headrace-one", current),
        await call_in_thread("headrace-two", current),
    )

    assert (first_name, second_name) == ("headrace-one", "headrace-two")
    assert first.daemon
    assert threading.current_thread() not in {first, second}


async def test_concurrent_calls_run_in_threads_of_their_own() -> None:
    gate = threading.Barrier(3)

    def meet() -> threading.Thread:
        gate.wait(PATIENCE_SECONDS)
        return threading.current_thread()

    threads = await asyncio.gather(*(call_in_thread(f"call-{number}", meet) for number in range(3)))

    assert len(set(threads)) == 3


async def test_a_thread_is_reused_and_keeps_its_local_objects() -> None:
    local = threading.local()

    def count() -> int:
        local.calls = getattr(local, "calls", 0) + 1
        calls: int = local.calls
        return calls

    counts = []
    for _ in range(3):
        counts.append(await call_in_thread("counting", count))
        (thread,) = [
            thread for thread in threading.enumerate() if thread.name in ("counting", "headrace-idle")
        ][:1]
        await wait_for_end(thread)

    assert max(counts) > 1


async def test_a_call_sees_the_context_variables_of_its_caller_and_leaves_them() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("of the caller")

    def change() -> str:
        seen = variable.get()
        variable.set("of the thread")
        return seen

    first = await call_in_thread("changing", change)
    second = await call_in_thread("changing", change)

    assert (first, second, variable.get()) == ("of the caller",) * 3


async def test_the_loop_keeps_running_while_the_thread_works() -> None:
    gate = threading.Event()
    waiting = call_in_thread("waiting", gate.wait, PATIENCE_SECONDS)

    gate.set()

    assert await waiting is True


async def test_an_ordinary_error_is_raised_unchanged() -> None:
    error = ValueError("of the author")

    with pytest.raises(ValueError, match="of the author") as caught:
        await call_in_thread("failing", fail, error)

    assert caught.value is error


async def test_a_group_of_ordinary_errors_is_raised_unchanged() -> None:
    error = ExceptionGroup("several", [ValueError(), KeyError()])

    with pytest.raises(ExceptionGroup) as caught:
        await call_in_thread("failing", fail, error)

    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseExceptionGroup("all", [SystemExit()]), "BaseExceptionGroup: all (SystemExit)"),
        (StopIteration(3), "StopIteration: 3"),
        (asyncio.CancelledError("by the author"), "CancelledError: by the author"),
    ],
    ids=lambda case: type(case).__name__,
)
async def test_an_exception_that_no_future_should_hold_becomes_a_step_error(
    error: BaseException, description: str
) -> None:
    future = call_in_thread("leaving", fail, error)
    await asyncio.wait({future}, timeout=PATIENCE_SECONDS)

    assert not future.cancelled()
    assert type(future.exception()) is StepLeftError
    assert str(future.exception()) == f"the step raised {description}"


@pytest.mark.parametrize("ends_well", [True, False])
async def test_the_outcome_of_an_abandoned_thread_is_ignored(ends_well: bool) -> None:
    gate, complaints = threading.Event(), list[dict[str, Any]]()
    threads = SimpleQueue[threading.Thread]()

    def work() -> int:
        threads.put(threading.current_thread())
        gate.wait(PATIENCE_SECONDS)
        if not ends_well:
            raise ValueError("too late")
        return 7

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    future = call_in_thread("given up", work)
    future.cancel()
    gate.set()
    await wait_for_end(await asyncio.to_thread(threads.get, timeout=PATIENCE_SECONDS))
    loop.set_exception_handler(before)

    assert future.cancelled()
    assert complaints == []


@pytest.mark.parametrize("error", [None, ValueError(), SystemExit()])
def test_a_thread_may_end_after_its_loop(error: BaseException | None, broken: list[str]) -> None:
    gate, threads = threading.Event(), SimpleQueue[threading.Thread]()

    def work() -> None:
        threads.put(threading.current_thread())
        gate.wait(PATIENCE_SECONDS)
        if error is not None:
            raise error

    async def begin() -> None:
        call_in_thread("late", work)

    with asyncio.Runner() as runner:
        runner.run(begin())
    gate.set()
    wait_until_idle(threads.get(timeout=PATIENCE_SECONDS))
    assert broken == []
