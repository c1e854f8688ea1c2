"""Batches concurrent submissions: those that arrive while a statement is in flight go out in the next one.

There is no timer: a single submission is sent at once. While several owners submit, a statement takes the
submissions of all of them in rounds, and an owner has one statement in flight, so that nobody waits for all
batches of another.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from headrace.adapters.recent_users import RecentUsers
from headrace.adapters.rounds import in_rounds
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.submission.submission import StoreResult, Submission

_MAX_JOBS: Final = 1_000
# Of one owner in a statement, while others submit; or a single submission, however large.
_MAX_JOBS_OF_OWNER: Final = 250
_ALONE_SECONDS: Final = 10.0
_LANES: Final = 2
_MAX_TRIES: Final = 3
_SHUTDOWN_REASON: Final = "this process is ending"

Write = Callable[[Sequence[Submission]], Awaitable[list[StoreResult]]]
_Pending = tuple[Submission, asyncio.Future[StoreResult]]


class SubmissionBatcher:
    """Collects submissions and stores them in batches; `run` is its only task."""

    def __init__(self, write: Write, on_batch: Callable[[int], None] | None = None) -> None:
        """*on_batch* is called with the number of submissions in each batch that was stored."""
        self._write = write
        self._on_batch = on_batch
        self._recent_owners = RecentUsers(_ALONE_SECONDS)
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        # Idempotency keys in flight: a second use of a key waits until the first is stored.
        self._keys_in_flight: set[tuple[UUID, str]] = set()
        self._owners_in_flight: Counter[UUID] = Counter()
        self._has_ended = False

    async def store(self, submission: Submission) -> StoreResult:
        """Store *submission* with the next batch.

        Raises:
            DatabaseAwayError: PostgreSQL did not answer; the submission may be stored.
            DatabaseBusyError, asyncpg.PostgresError: the submission was not stored.
        """
        if self._has_ended:
            raise DatabaseAwayError(_SHUTDOWN_REASON)
        future: asyncio.Future[StoreResult] = asyncio.get_running_loop().create_future()
        self._recent_owners.note(submission.owner_id)
        self._pending.append((submission, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Store until cancelled. Submissions that still wait then fail with DatabaseAwayError."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(_LANES):
                    lanes.create_task(self._lane())
        finally:
            self._has_ended = True
            _fail(self._pending, DatabaseAwayError(_SHUTDOWN_REASON))

    async def _lane(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            keys = {key for submission, _ in batch if (key := _key(submission)) is not None}
            owners = {submission.owner_id for submission, _ in batch}
            self._keys_in_flight |= keys
            self._owners_in_flight.update(owners)
            try:
                await self._send(batch)
            except BaseException:
                _fail(batch, DatabaseAwayError(_SHUTDOWN_REASON))
                raise
            finally:
                self._keys_in_flight -= keys
                self._owners_in_flight.subtract(owners)
                self._wake.set()

    def _next_batch(self) -> list[_Pending]:
        batch: list[_Pending] = []
        count = 0
        count_of: Counter[UUID] = Counter()
        keys = set(self._keys_in_flight)
        pending, later, limit = self._in_rounds()
        is_shared = limit < _MAX_JOBS
        for submission, future in pending:
            key, owner_id, size = _key(submission), submission.owner_id, len(submission.jobs)
            if key in keys:
                later.append((submission, future))
                continue
            beyond_limit = is_shared and count_of[owner_id] and count_of[owner_id] + size > limit
            if batch and (count + size > _MAX_JOBS or beyond_limit):
                if is_shared:
                    # The owner's later submissions wait as well, lest small ones pass a large one for ever.
                    count_of[owner_id] = limit
                later.append((submission, future))
                continue
            if key is not None:
                keys.add(key)
            count += size
            if is_shared:
                count_of[owner_id] += size
            batch.append((submission, future))
        self._pending = later
        return batch

    def _in_rounds(self) -> tuple[list[_Pending], list[_Pending], int]:
        """Return the first submission of each owner, then the second of each, and so on.

        Also return those that must wait because a statement of their owner is in flight, and the limit of
        each owner in a statement.
        """
        groups: dict[UUID, list[_Pending]] = {}
        for pending in self._pending:
            if not pending[1].cancelled():
                groups.setdefault(pending[0].owner_id, []).append(pending)
        if len(groups) < 2 and all(map(self._recent_owners.is_alone, groups)):
            return in_rounds(groups.values()), [], _MAX_JOBS
        ready, waiting = list[list[_Pending]](), list[_Pending]()
        for owner_id, group in groups.items():
            if self._owners_in_flight[owner_id]:
                waiting += group
            else:
                ready.append(group)
        return in_rounds(ready), waiting, _MAX_JOBS_OF_OWNER

    async def _send(self, batch: list[_Pending]) -> None:
        try:
            results = await self._write_with_retry([submission for submission, _ in batch])
        except asyncpg.PostgresError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One bad value must not fail the other submissions.
            for pending in batch:
                await self._send([pending])
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _fail(batch, error)
        else:
            if self._on_batch is not None:
                self._on_batch(len(batch))
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _write_with_retry(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        for attempt in range(_MAX_TRIES):
            try:
                return await self._write(submissions)
            except DatabaseBusyError:
                if attempt == _MAX_TRIES - 1:
                    raise
        raise AssertionError


def _key(submission: Submission) -> tuple[UUID, str] | None:
    return None if submission.key is None else (submission.owner_id, submission.key.name)


def _fail(batch: list[_Pending], error: Exception) -> None:
    for _, future in batch:
        with contextlib.suppress(asyncio.InvalidStateError):
            future.set_exception(error)
