"""Batches of submissions under any order of callers, statements and errors."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.submission_batcher import SubmissionBatcher
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.submission.submission import StoreResult, Submission
from support.submission_builders import AT, submission
from support.virtual_time import in_virtual_time, until_idle

MAX_JOBS = 1_000
MAX_STATEMENTS = 2


class Table:
    """Stores as PostgreSQL does: a statement whole or not at all, and a key once."""

    def __init__(self) -> None:
        self.under_way: list[tuple[list[Submission], asyncio.Future[Exception | None]]] = []
        self.rows: list[str] = []
        self.keys: set[str] = set()
        self.max_under_way = 0
        self.sizes: list[list[int]] = []
        self.unsure: set[str] = set()

    async def __call__(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        batch = list(submissions)
        keys = [each.key.name for other in (batch, *self.waiting) for each in other if each.key is not None]
        assert max(Counter(keys).values(), default=0) <= 1, "a key is twice under way"
        self.sizes.append([len(each.jobs) for each in batch])
        end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.under_way.append((batch, end))
        self.max_under_way = max(self.max_under_way, len(self.under_way))
        error = await end
        if error is not None:
            raise error
        if any(each.response.startswith("bad") for each in batch):
            raise asyncpg.DataError("a poisoned row")
        return [self._store(each) for each in batch]

    @property
    def waiting(self) -> list[list[Submission]]:
        return [batch for batch, _ in self.under_way]

    def end(self, place: int, error: Exception | None) -> None:
        """End a statement that is under way, if there is one."""
        if self.under_way:
            batch, end = self.under_way.pop(place % len(self.under_way))
            if isinstance(error, DatabaseAwayError):
                self.unsure |= {each.response for each in batch}
            if not end.done():
                end.set_result(error)

    def _store(self, submission: Submission) -> StoreResult:
        if submission.key is not None and submission.key.name in self.keys:
            return StoreResult("repeated", AT, submission.response)
        if submission.key is not None:
            self.keys.add(submission.key.name)
        self.rows.append(submission.response)
        return StoreResult("stored", AT, submission.response)


SUBMITTED = st.tuples(
    st.just("submit"),
    st.sampled_from(["good", "good", "good", "bad"]),
    st.sampled_from([1, 1, 400, 700, 1_500]),
    st.sampled_from([None, None, "k", "l"]),
)
ENDED = st.tuples(st.just("end"), st.integers(0, 1), st.sampled_from([None, None, None, "busy", "away"]))
LEFT = st.tuples(st.just("leave"), st.integers(0, 30))
TURN = st.just(("turn",))
ACTS = st.lists(SUBMITTED | SUBMITTED | ENDED | LEFT | TURN, max_size=25)
ERRORS: dict[str | None, Exception | None] = {
    None: None,
    "busy": DatabaseBusyError("deadlock"),
    "away": DatabaseAwayError("cut"),
}


class Crowd:
    """Callers of a batcher, acting one after the other."""

    def __init__(self, table: Table, batcher: SubmissionBatcher) -> None:
        self._table = table
        self._batcher = batcher
        self.tasks: dict[str, asyncio.Task[StoreResult]] = {}
        self.left: set[str] = set()

    async def act(self, kind: str, *how: Any) -> None:
        match kind:
            case "submit":
                word, jobs, key = how
                name = f"{word} {len(self.tasks)}"
                self.tasks[name] = asyncio.create_task(
                    self._batcher.store(submission(name, jobs=jobs, key=key))
                )
            case "end":
                place, error = how
                self._table.end(place, ERRORS[error])
            case "leave":
                (place,) = how
                for name in list(self.tasks)[place : place + 1]:
                    if self.tasks[name].cancel():
                        self.left.add(name)
            case "turn":
                await until_idle()

    async def serve_all(self) -> None:
        """Let the statements in flight succeed until no caller waits."""
        await until_idle()
        while self._table.under_way:
            self._table.end(0, None)
            await until_idle()


@given(ACTS)
@in_virtual_time
async def test_every_caller_gets_its_own_result_and_is_stored_once(acts: list[tuple[Any, ...]]) -> None:
    table = Table()
    batcher = SubmissionBatcher(table)
    running = asyncio.create_task(batcher.run())
    crowd = Crowd(table, batcher)
    for act in acts:
        await crowd.act(*act)
    await crowd.serve_all()

    assert [name for name, task in crowd.tasks.items() if not task.done()] == []
    assert table.max_under_way <= MAX_STATEMENTS
    assert [sizes for sizes in table.sizes if sum(sizes) > MAX_JOBS and len(sizes) > 1] == []
    assert len(table.rows) == len(set(table.rows))
    for name, task in crowd.tasks.items():
        if name in crowd.left:
            continue
        error = task.exception()
        if error is None:
            assert task.result().at_text == name
            assert (task.result().verdict == "stored") == (name in table.rows)
        elif isinstance(error, DatabaseAwayError):
            assert name in table.unsure
        else:
            assert isinstance(error, DatabaseBusyError) or name.startswith("bad")
            assert name not in table.rows
    await cancel_and_wait([running])


@given(ACTS, st.integers(0, 25))
@in_virtual_time
async def test_stopping_the_batcher_at_any_moment_leaves_no_caller_waiting(
    acts: list[tuple[Any, ...]], moment: int
) -> None:
    table = Table()
    batcher = SubmissionBatcher(table)
    running = asyncio.create_task(batcher.run())
    await until_idle()
    crowd = Crowd(table, batcher)
    for place, act in enumerate(acts):
        if place == moment:
            running.cancel()
        await crowd.act(*act)
    running.cancel()
    await until_idle()

    assert [name for name, task in crowd.tasks.items() if not task.done()] == []
    for name, task in crowd.tasks.items():
        if name not in crowd.left and (error := task.exception()) is None:
            assert task.result().at_text == name
        elif name not in crowd.left:
            assert isinstance(error, DatabaseAwayError | DatabaseBusyError | asyncpg.DataError)
