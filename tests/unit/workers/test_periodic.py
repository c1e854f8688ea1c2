"""The loop that runs a worker's chores, without real waiting."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from structlog.testing import capture_logs

from headrace.adapters.periodic import run_every
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError

Run = int | Exception


class EndOfTestError(Exception):
    """The chore has run as many times as the test wants."""


class Clock:
    """A clock that records the seconds of each sleep, and does not wait."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def chore(*runs: Run) -> Callable[[], Awaitable[int]]:
    """Return a chore with these results, which then ends the loop."""
    results = iter(runs)

    async def run_once() -> int:
        result = next(results, None)
        if result is None:
            raise EndOfTestError
        if isinstance(result, Exception):
            raise result
        return result

    return run_once


async def test_a_chore_waits_first_and_then_between_its_runs() -> None:
    clock = Clock()

    with pytest.raises(EndOfTestError):
        await run_every(5, chore(1, 0), jitter=0, sleep=clock.sleep)

    assert clock.pauses == [5, 5, 5]


async def test_a_chore_may_run_at_once() -> None:
    clock = Clock()

    with pytest.raises(EndOfTestError):
        await run_every(5, chore(1), jitter=0, waits_first=False, sleep=clock.sleep)

    assert clock.pauses == [5]


async def test_jitter_shortens_each_pause_by_at_most_its_fraction() -> None:
    clock = Clock()

    with pytest.raises(EndOfTestError):
        await run_every(10, chore(*[1] * 200), jitter=0.2, sleep=clock.sleep)

    assert all(8 <= pause <= 10 for pause in clock.pauses)
    assert len(set(clock.pauses)) > 100


@pytest.mark.parametrize(
    ("error", "events"), [(DatabaseBusyError("locked"), ["put_off"]), (DatabaseAwayError("gone"), [])]
)
async def test_a_transient_error_is_retried_sooner_and_logged_unless_it_is_an_outage(
    error: Exception, events: list[str]
) -> None:
    clock = Clock()

    with capture_logs() as logs, pytest.raises(EndOfTestError):
        await run_every(
            60,
            chore(error, 3),
            jitter=0,
            waits_first=False,
            retry_seconds=10,
            put_off_event="put_off",
            sleep=clock.sleep,
        )

    assert clock.pauses == [10, 60]
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == events


async def test_a_transient_error_without_an_event_name_is_not_logged_and_keeps_the_pause() -> None:
    clock = Clock()

    with capture_logs() as logs, pytest.raises(EndOfTestError):
        await run_every(2, chore(DatabaseAwayError("gone")), jitter=0, waits_first=False, sleep=clock.sleep)

    assert clock.pauses == [2]
    assert logs == []


async def test_an_error_that_postgresql_answers_is_logged_and_does_not_end_the_loop() -> None:
    clock = Clock()
    error = asyncpg.UndefinedTableError("no such table")

    with capture_logs() as logs, pytest.raises(EndOfTestError):
        await run_every(2, chore(error), jitter=0, waits_first=False, sleep=clock.sleep)

    assert clock.pauses == [2]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["statement_refused"]


async def test_another_error_without_an_event_name_ends_the_loop() -> None:
    clock = Clock()

    with pytest.raises(ValueError, match="broken"):
        await run_every(2, chore(ValueError("broken")), sleep=clock.sleep)


async def test_another_error_with_an_event_name_is_logged_and_the_chore_continues() -> None:
    clock = Clock()
    runs = 0

    async def run_once() -> int:
        nonlocal runs
        runs += 1
        if runs == 3:
            raise asyncio.CancelledError
        raise ValueError(runs)

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await run_every(2, run_once, jitter=0, failed_event="failed", sleep=clock.sleep)

    assert [log["event"] for log in logs] == ["failed", "failed"]
    assert clock.pauses == [2, 2, 2]


async def test_cancelling_the_task_ends_the_loop_while_it_waits() -> None:
    waiting = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def run_once() -> int:
        raise AssertionError

    task = asyncio.create_task(run_every(2, run_once, failed_event="failed", sleep=sleep))
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
