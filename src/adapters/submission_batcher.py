"""Submissions of concurrent callers are stored together: what gathers while a statement is under way.

There is no timer: a lone submission leaves at once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.submission.submission import StoreResult, Submission

_MOST_JOBS: Final = 1_000
_LANES: Final = 2
_TRIES: Final = 3
_ENDED: Final = "this process is ending"

Write = Callable[[Sequence[Submission]], Awaitable[list[StoreResult]]]
_Waiting = tuple[Submission, asyncio.Future[StoreResult]]


class SubmissionBatcher:
    """Gathers submissions and stores them in batches; `run` is its one task."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        # Keys in a statement that is under way: a second use must find the first one stored.
        self._keys: set[tuple[UUID, str]] = set()
        self._has_ended = False

    async def store(self, submission: Submission) -> StoreResult:
        """Have *submission* stored.

        Raises:
            DatabaseAwayError: no answer; whether it was stored is not known.
            DatabaseBusyError, asyncpg.PostgresError: nothing was stored.
        """
        if self._has_ended:
            raise DatabaseAwayError(_ENDED)
        future: asyncio.Future[StoreResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Store until cancelled; whoever waits then is told that there is no answer."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(_LANES):
                    lanes.create_task(self._lane())
        finally:
            self._has_ended = True
            _fail(self._waiting, DatabaseAwayError(_ENDED))

    async def _lane(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            keys = {key for submission, _ in batch if (key := _key(submission)) is not None}
            self._keys |= keys
            try:
                await self._send(batch)
            except BaseException:
                _fail(batch, DatabaseAwayError(_ENDED))
                raise
            finally:
                self._keys -= keys
                self._wake.set()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        count = 0
        keys = set(self._keys)
        for submission, future in self._waiting:
            key = _key(submission)
            if future.cancelled():
                continue
            if (batch and count + len(submission.jobs) > _MOST_JOBS) or key in keys:
                later.append((submission, future))
                continue
            if key is not None:
                keys.add(key)
            count += len(submission.jobs)
            batch.append((submission, future))
        self._waiting = later
        return batch

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._patiently([submission for submission, _ in batch])
        except asyncpg.PostgresError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One bad value must not refuse its neighbours.
            for one in batch:
                await self._send([one])
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _fail(batch, error)
        else:
            for (_, future), stored in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(stored)

    async def _patiently(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        for turn in range(_TRIES):
            try:
                return await self._write(submissions)
            except DatabaseBusyError:
                if turn == _TRIES - 1:
                    raise
        raise AssertionError


def _key(submission: Submission) -> tuple[UUID, str] | None:
    return None if submission.key is None else (submission.owner_id, submission.key.name)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for _, future in batch:
        with contextlib.suppress(asyncio.InvalidStateError):
            future.set_exception(error)
