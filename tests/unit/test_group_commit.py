"""Changes of several attempts are written in one batch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.group_commit import GroupCommit
from headrace.adapters.pending_changes import MAX_BATCH
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseRefusingError,
    DatabaseTimeoutError,
)
from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.news import FrameSource, JobNews
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.errors import ChangeRefusedError
from support.patience import until
from support.virtual_time import in_virtual_time, running_loop

POISONED = UUID(int=666)


class Silent:
    def publish(self, news: Sequence[JobNews]) -> None: ...

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None: ...


class Writer:
    """Records each batch; raises the scripted errors first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.batches: list[list[tuple[int, int, int]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_called = asyncio.Event()

    async def __call__(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        self.is_called.set()
        await self.gate.wait()
        self.batches.append([(change.job_id.int, change.write_no, len(change.events)) for change in changes])
        if self.errors:
            raise self.errors.pop(0)
        if any(change.job_id == POISONED for change in changes):
            raise asyncpg.DataError("a poisoned row")
        return {change.job_id: (WriteResult(verdict="applied"), None) for change in changes}


@asynccontextmanager
async def committing(writer: Writer) -> AsyncIterator[GroupCommit]:
    commit = GroupCommit(writer, Silent())
    task = asyncio.create_task(commit.run())
    yield commit
    commit.close()
    await task


def change(number: int, events: int = 1, fence: int = 1) -> Change:
    return Change(
        job_id=UUID(int=number),
        owner_id=UUID(int=0),
        fence=fence,
        events=[EncodedEvent("log", "{}") for _ in range(events)],
    )


@in_virtual_time
async def test_a_single_change_is_written_at_once() -> None:
    writer = Writer()
    async with committing(writer) as commit:
        written = await commit.submit(change(1))

    assert written.verdict == "applied"
    assert running_loop().passed == 0
    assert writer.batches == [[(1, 1, 1)]]


@in_virtual_time
async def test_changes_made_during_a_write_form_one_batch_with_one_change_per_job() -> None:
    writer = Writer()
    async with committing(writer) as commit:
        writer.gate.clear()
        first = commit.submit(change(1))
        await writer.is_called.wait()
        later = [commit.submit(change(number, events=2)) for number in (1, 2, 1, 3)]
        writer.gate.set()
        await asyncio.gather(first, *later)

    assert writer.batches == [[(1, 1, 1)], [(1, 2, 4), (2, 1, 2), (3, 1, 2)]]


@in_virtual_time
async def test_a_full_batch_takes_along_what_its_attempts_add_in_the_next_turn() -> None:
    writer = Writer()

    async def attempt(number: int) -> None:
        commit.enqueue(change(number))
        await asyncio.sleep(0)  # the turn in which a short step runs
        await commit.submit(change(number))

    async with committing(writer) as commit:
        await asyncio.gather(*(attempt(number) for number in range(1, MAX_BATCH + 1)))

    assert writer.batches == [[(number, 1, 2) for number in range(1, MAX_BATCH + 1)]]


@in_virtual_time
async def test_a_change_that_is_resent_after_a_lost_connection_keeps_its_number() -> None:
    writer = Writer(DatabaseAwayError("cut"))
    async with committing(writer) as commit:
        await commit.submit(change(1))

    assert writer.batches == [[(1, 1, 1)], [(1, 1, 1)]]


@in_virtual_time
async def test_a_deadlocked_batch_is_retried_as_a_whole_and_then_row_by_row() -> None:
    busy = DatabaseBusyError("deadlock")
    writer = Writer(busy, busy, busy, busy)
    async with committing(writer) as commit:
        await asyncio.gather(commit.submit(change(1)), commit.submit(change(2)))

    assert [[number for number, _, _ in batch] for batch in writer.batches] == [[1, 2]] * 3 + [[1], [2], [1]]


@in_virtual_time
async def test_a_locked_row_does_not_delay_the_others() -> None:
    writer = Writer(*[DatabaseBusyError("lock") for _ in range(6)])
    async with committing(writer) as commit:
        held = commit.submit(change(1))
        await writer.is_called.wait()
        more = commit.submit(change(1, events=2))
        neighbour = await commit.submit(change(2))

        assert neighbour.verdict == "applied"
        assert (running_loop().passed, held.done()) == (0, False)
        assert (await held).verdict == (await more).verdict == "applied"

    assert writer.batches[-1] == [(1, writer.batches[-1][0][1], 3)]


@in_virtual_time
async def test_two_fences_of_one_job_are_never_in_one_batch() -> None:
    writer = Writer()
    async with committing(writer) as commit:
        await asyncio.gather(*(commit.submit(change(1, fence=fence)) for fence in (1, 2, 1, 2)))
        commit.end_attempt(UUID(int=1), 1)
        await commit.submit(change(1, fence=2))

    assert writer.batches == [[(1, 1, 2)], [(1, 1, 2)], [(1, 2, 1)]]


@in_virtual_time
async def test_a_poisoned_row_fails_alone() -> None:
    writer = Writer()
    async with committing(writer) as commit:
        good, bad = commit.submit(change(1)), commit.submit(change(POISONED.int))

        assert (await good).verdict == "applied"
        with pytest.raises(ChangeRefusedError, match="a poisoned row"):
            await bad


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedColumnError("ours"), DatabaseRefusingError("DiskFullError")]
)
@in_virtual_time
async def test_an_error_that_is_not_the_values_fails_no_change(error: Exception) -> None:
    writer = Writer(*[error] * 12)
    async with committing(writer) as commit:
        results = await asyncio.wait_for(
            asyncio.gather(commit.submit(change(1)), commit.submit(change(2))), 20
        )

    assert [result.verdict for result in results] == ["applied", "applied"]


@in_virtual_time
async def test_a_refusal_of_values_that_does_not_come_again_fails_no_change() -> None:
    error = asyncpg.DataError("once")
    writer = Writer(error, error, error)
    async with committing(writer) as commit:
        result = await commit.submit(change(1))

    assert (result.verdict, writer.errors) == ("applied", [])


class SlowFor:
    """Times out for the changes of one job, up to *times* times, and writes all others."""

    def __init__(self, number: int, times: float = inf) -> None:
        self.job_id = UUID(int=number)
        self.calls = 0
        self._times = times

    async def __call__(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        if self.calls < self._times and any(change.job_id == self.job_id for change in changes):
            self.calls += 1
            raise DatabaseTimeoutError("TimeoutError")
        return {change.job_id: (WriteResult(verdict="applied"), None) for change in changes}


@in_virtual_time
async def test_a_large_change_that_times_out_while_others_are_stored_is_not_sent_for_ever() -> None:
    writer = SlowFor(1)
    commit = GroupCommit(writer, Silent())
    task = asyncio.create_task(commit.run())
    large = change(1)
    large.events.append(EncodedEvent("log", f'{{"message":"{"x" * (1 << 20)}"}}'))
    slow, *quick = [commit.submit(large), commit.submit(change(2)), commit.submit(change(3))]
    while not slow.done():
        assert (await commit.submit(change(4))).verdict == "applied"
        await asyncio.sleep(0.01)

    assert [(await result).verdict for result in quick] == ["applied", "applied"]
    with pytest.raises(ChangeRefusedError, match=r"a change of 10485\d\d bytes"):
        await slow
    commit.close()
    await task
    assert writer.calls == 4  # twice with others, twice alone


@in_virtual_time
async def test_a_small_change_is_sent_until_postgresql_is_fast_again() -> None:
    writer = SlowFor(1, times=8)
    commit = GroupCommit(writer, Silent())
    task = asyncio.create_task(commit.run())
    slow = commit.submit(change(1))
    while not slow.done():
        assert (await commit.submit(change(4))).verdict == "applied"
        await asyncio.sleep(0.01)

    assert (await slow).verdict == "applied"
    commit.close()
    await task


@in_virtual_time
async def test_a_new_attempt_restarts_its_numbers() -> None:
    writer = Writer()
    async with committing(writer) as commit:
        await commit.submit(change(1))
        await commit.submit(change(1))
        await commit.submit(change(1, fence=2))

    assert [batch[0][1] for batch in writer.batches] == [1, 2, 1]


@in_virtual_time
async def test_closing_writes_all_waiting_changes() -> None:
    writer = Writer()
    commit = GroupCommit(writer, Silent())
    futures = [commit.submit(change(number)) for number in range(1, 600)]

    commit.close()
    await commit.run()

    assert all(future.done() for future in futures)


@in_virtual_time
async def test_a_change_that_may_be_stored_keeps_its_number_while_its_row_is_locked() -> None:
    busy = [DatabaseBusyError("lock") for _ in range(5)]
    writer = Writer(DatabaseAwayError("no answer"), *busy)
    async with committing(writer) as commit:
        first = commit.submit(change(1))
        await until(lambda: len(writer.batches) == 6)
        later = commit.submit(change(1))
        neighbour = commit.submit(change(2))
        await neighbour
        await asyncio.gather(first, later)

    batches_of_first_job = [batch for batch in writer.batches if batch[0][0] == 1]
    assert batches_of_first_job == [[(1, 1, 1)]] * 7 + [[(1, 2, 1)]]


class Scripted:
    """Raises or blocks as the test scripts each call; records the jobs of each call."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.calls: list[list[int]] = []
        self.gates: dict[int, asyncio.Event] = {}

    async def __call__(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        self.calls.append([change.job_id.int for change in changes])
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        if (gate := self.gates.get(len(self.calls))) is not None:
            await gate.wait()
        return {change.job_id: (WriteResult(verdict="applied"), None) for change in changes}


@in_virtual_time
async def test_a_job_that_was_written_separately_is_in_one_batch_at_a_time() -> None:
    busy = [DatabaseBusyError("lock") for _ in range(4)]
    writer = Scripted(DatabaseAwayError("no answer"), *busy)
    writer.gates = {6: asyncio.Event(), 8: asyncio.Event()}
    commit = GroupCommit(writer, Silent())
    settled, neighbour = commit.submit(change(1)), commit.submit(change(2))
    task = asyncio.create_task(commit.run())
    await settled
    second = commit.submit(change(1))
    await until(lambda: len(writer.calls) == 8)

    writer.gates[6].set()
    await neighbour
    third = commit.submit(change(1))
    for _ in range(20):
        await asyncio.sleep(0)
    calls_meanwhile = list(writer.calls)
    writer.gates[8].set()
    await asyncio.gather(second, third)
    commit.close()
    await task

    assert calls_meanwhile == [[1, 2]] * 4 + [[1], [2], [1], [1]]
    assert writer.calls[8:] == [[1]]
