"""Submissions, a scripted statement that stores them, and a running batcher, for tests without a server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg

from headrace.adapters.submission_batcher import SubmissionBatcher, Write
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.jobs.submission.submission import (
    JobSpec,
    NewJob,
    StoreResult,
    Submission,
    SubmissionKey,
)
from headrace.domain.pipelines.catalogue import CachedPipeline

POISON: Final = "poison"
AT: Final = datetime(2030, 1, 1, tzinfo=UTC)

_JOB = NewJob(
    id=UUID(int=1),
    spec=JobSpec(pipeline="noop", params={}),
    pipeline=CachedPipeline("noop", 1, {}, AT, True),
    params="{}",
    meta="{}",
    waiting_for="worker_busy",
)


def submission(name: str, *, jobs: int = 1, key: str | None = None, owner: int = 1) -> Submission:
    """Return a submission with *name* as its response, by which tests identify it."""
    return Submission(
        owner_id=UUID(int=owner),
        jobs=[_JOB] * jobs,
        response=name,
        key=None if key is None else SubmissionKey(key, "{}"),
    )


def named(*names: str) -> list[Submission]:
    return [submission(name) for name in names]


def stored_as(*names: str) -> list[StoreResult]:
    """Return the results of a `ScriptedWriter` for submissions with these names."""
    return [StoreResult("stored", AT, name) for name in names]


class ScriptedWriter:
    """Records the names in each statement that stores submissions; those with `POISON` fail.

    Each statement takes the next of *errors* and raises it. While the writer is not open, each statement
    waits for `release`.
    """

    def __init__(self, *errors: Exception | None, is_open: bool = True) -> None:
        self._errors = list(errors)
        self._is_open = is_open
        self._held: list[asyncio.Future[None]] = []
        self.statements: list[list[str]] = []

    async def __call__(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        names = [submission.response for submission in submissions]
        self.statements.append(names)
        error = self._errors.pop(0) if self._errors else None
        if not self._is_open:
            self._held.append(asyncio.get_running_loop().create_future())
            await self._held[-1]
        if error is not None:
            raise error
        if POISON in names:
            raise asyncpg.DataError("a poisoned row")
        return stored_as(*names)

    def release(self, place: int = 0) -> None:
        """Let the oldest statement in flight end, or another by its *place*."""
        self._held.pop(place).set_result(None)

    def open(self) -> None:
        """Let all statements end, now and later."""
        self._is_open = True
        while self._held:
            self.release()


@asynccontextmanager
async def running_batcher(write: Write) -> AsyncIterator[SubmissionBatcher]:
    """Yield a batcher that runs during the block."""
    batcher = SubmissionBatcher(write)
    task = asyncio.create_task(batcher.run())
    yield batcher
    await cancel_and_wait([task])


def store_each(batcher: SubmissionBatcher, *submissions: Submission) -> list["asyncio.Task[StoreResult]"]:
    return [asyncio.create_task(batcher.store(submission)) for submission in submissions]


async def results_of(tasks: "Sequence[asyncio.Task[StoreResult]]") -> list[StoreResult | BaseException]:
    """Return the results and errors of the callers, in order."""
    return await asyncio.gather(*tasks, return_exceptions=True)
