"""Batches the changes of concurrent attempts: those that arrive while a write is in flight go out together.

There is no timer: a single change is sent at once. Two batches may be in flight, so that the worker continues
with the results of one while PostgreSQL writes the other.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from headrace.adapters.pending_changes import MAX_BATCH, PendingChange, PendingChanges
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.events.news import JobNews, Publisher
from headrace.domain.jobs.attempts.changes import Change, WriteResult

_log = structlog.get_logger(__name__)

_LANES: Final = 2
_MAX_BATCH_TRIES: Final = 3
_BUSY_PAUSE_SECONDS: Final = 0.2
_BUSY_SECONDS: Final = 60.0
_OUTAGE_PAUSE_SECONDS: Final = 0.25
_OUTAGE_SECONDS: Final = 300.0

_Results = dict[UUID, tuple[WriteResult, JobNews | None]]
Write = Callable[[Sequence[Change]], Awaitable[_Results]]


class GroupCommit:
    """Collects changes and writes them in batches; `run` is its only task.

    A change whose row is locked by another session is parked and retried alone a few times a second, so that
    it does not delay the other jobs.
    """

    def __init__(self, write: Write, publisher: Publisher) -> None:
        self._write = write
        self._publisher = publisher
        self._pending = PendingChanges()
        self._tasks = asyncio.TaskGroup()
        self._wake = asyncio.Event()
        self._closing = False

    def submit(self, change: Change) -> asyncio.Future[WriteResult]:
        """Write *change* with the next batch. The future gets the result.

        The future fails with PostgreSQL's error if PostgreSQL refuses this change.
        """
        future: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        self._pending.add(change).futures.append(future)
        self._wake.set()
        return future

    def enqueue(self, change: Change) -> None:
        """Write *change* with the next batch. A refusal is logged, unless a caller of `submit` gets it."""
        self._pending.add(change)
        self._wake.set()

    def end_attempt(self, job_id: UUID, fence: int) -> None:
        """Release the state of an attempt that has ended."""
        self._pending.end_attempt(job_id, fence)

    async def run(self) -> None:
        """Write until closed and empty."""
        async with asyncio.TaskGroup() as self._tasks:
            for _ in range(_LANES):
                self._tasks.create_task(self._lane())

    def close(self) -> None:
        """Let `run` end as soon as everything is written."""
        self._closing = True
        self._wake.set()

    async def _lane(self) -> None:
        while True:
            await self._collect()
            batch = self._pending.take_batch()
            if batch:
                await self._send(batch)
                self._pending.land(pending for pending in batch if not pending.is_settling)
                # The other lane may wait for later changes of these jobs.
                self._wake.set()
            elif self._closing and not self._pending:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _collect(self) -> None:
        """Yield to tasks that are about to add changes, as long as the batch grows; without a timer."""
        count = -1
        while count < len(self._pending) < MAX_BATCH:
            count = len(self._pending)
            await asyncio.sleep(0)

    async def _send(self, batch: list[PendingChange]) -> None:
        self._pending.assign_write_nos(batch)
        try:
            free = [pending for pending in batch if pending.busy_until is None]
            if free:
                await self._send_together(free)
            for pending in batch:
                if pending.busy_until is not None and pending not in free:
                    await self._send_alone(pending)
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _reject(batch, error)

    async def _send_together(self, batch: list[PendingChange]) -> None:
        for _ in range(_MAX_BATCH_TRIES):
            try:
                results = await self._write_through_outages(batch)
            except DatabaseBusyError:
                continue
            except asyncpg.PostgresError as error:
                if len(batch) == 1:
                    _reject(batch, error)
                    return
                break
            self._resolve(batch, results)
            return
        for pending in batch:
            await self._send_alone(pending)

    async def _send_alone(self, pending: PendingChange) -> None:
        """Send one change, so that a bad or locked row does not fail the rest of its batch."""
        try:
            results = await self._write_through_outages([pending])
        except DatabaseBusyError as error:
            if pending.may_be_stored:
                pending.is_settling = True
                self._tasks.create_task(self._settle(pending))
            else:
                self._park(pending, error)
        except asyncpg.PostgresError as error:
            _reject([pending], error)
        else:
            self._resolve([pending], results)

    async def _settle(self, pending: PendingChange) -> None:
        """Repeat a change under the same number until its result is known. Later changes of its job wait."""
        deadline = asyncio.get_running_loop().time() + _BUSY_SECONDS
        try:
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                try:
                    self._resolve([pending], await self._write_through_outages([pending]))
                except DatabaseBusyError:
                    if asyncio.get_running_loop().time() < deadline:
                        continue
                    raise
                break
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _reject([pending], error)
        finally:
            self._pending.land([pending])
            self._wake.set()

    def _park(self, pending: PendingChange, error: DatabaseBusyError) -> None:
        """Retry a change with a locked row after a pause, or reject it after a minute."""
        loop = asyncio.get_running_loop()
        if pending.busy_until is None:
            pending.busy_until = loop.time() + _BUSY_SECONDS
        elif loop.time() > pending.busy_until:
            _reject([pending], error)
            return
        self._pending.park(pending)
        loop.call_later(_BUSY_PAUSE_SECONDS, self._unpark, pending)

    def _unpark(self, pending: PendingChange) -> None:
        pending.is_parked = False
        self._wake.set()

    async def _write_through_outages(self, batch: list[PendingChange]) -> _Results:
        """Write, and retry for five minutes while PostgreSQL is away. The fence stops late writes.

        Raises:
            DatabaseAwayError: PostgreSQL is still away; the changes may be stored.
        """
        deadline = asyncio.get_running_loop().time() + _OUTAGE_SECONDS
        while True:
            try:
                return await self._write([pending.change for pending in batch])
            except DatabaseAwayError as error:
                for pending in batch:
                    pending.may_be_stored = True
                _log.warning("postgresql_away", reason=error.reason, changes=len(batch))
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE_SECONDS)

    def _resolve(self, batch: list[PendingChange], results: _Results) -> None:
        published = []
        for pending in batch:
            result, news = results[pending.change.job_id]
            if news is not None:
                published.append(news)
            for future in pending.futures:
                if not future.done():
                    future.set_result(result)
        self._publisher.publish(published)


def _reject(batch: list[PendingChange], error: Exception) -> None:
    for pending in batch:
        if not pending.futures:
            _log.warning("change_refused", job_id=str(pending.change.job_id), error=repr(error))
        for future in pending.futures:
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_exception(error)
