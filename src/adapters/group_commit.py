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
from headrace.adapters.sqlstates import judge
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseRefusingError,
    DatabaseTimeoutError,
)
from headrace.domain.events.news import JobNews, Publisher
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.jobs.errors import ChangeRefusedError

_log = structlog.get_logger(__name__)

_LANES: Final = 2
_MAX_BATCH_TRIES: Final = 3
# An error that the values of a change cause comes again.
_MAX_VALUE_TRIES: Final = 3
_BUSY_PAUSE_SECONDS: Final = 0.2
_BUSY_SECONDS: Final = 60.0
_OUTAGE_PAUSE_SECONDS: Final = 0.25
_OUTAGE_SECONDS: Final = 300.0
_MAX_TIMEOUTS: Final = 2
# A smaller change is not at fault if PostgreSQL takes long.
_LARGE: Final = 1 << 20


_Results = dict[UUID, tuple[WriteResult, JobNews | None]]
Write = Callable[[Sequence[Change]], Awaitable[_Results]]


class GroupCommit:
    """Collects changes and writes them in batches; `run` is its only task.

    A change that PostgreSQL rolls back, such as one whose row is locked by another session, is parked and
    retried alone a few times a second, so that it does not delay the other jobs. Its job is blamed only for
    values that PostgreSQL refuses again and again, or does not store in time while it stores others.
    """

    def __init__(
        self, write: Write, publisher: Publisher, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """*on_batch* is called with the size of each batch that was written."""
        self._write = write
        self._publisher = publisher
        self._on_batch = on_batch
        self._pending = PendingChanges()
        self._tasks = asyncio.TaskGroup()
        self._wake = asyncio.Event()
        self._closing = False
        self._passed_at = 0.0
        self._settling = asyncio.Semaphore(_LANES)

    def submit(self, change: Change) -> asyncio.Future[WriteResult]:
        """Write *change* with the next batch. The future gets the result.

        The future fails with a ChangeRefusedError if PostgreSQL does not store the values of this change,
        and with one of `TRANSIENT` if PostgreSQL is still away or busy after a long time.
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
        """Yield to tasks that are about to add changes, as long as the batch grows; without a timer.

        A full batch waits for a turn of the loop as well: the starts of its steps are written together with
        the successes of those that end at once.
        """
        count = -1
        while count < len(self._pending):
            count = len(self._pending)
            await asyncio.sleep(0)
            if count >= MAX_BATCH:
                return

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
            except DatabaseRefusingError:
                await asyncio.sleep(_OUTAGE_PAUSE_SECONDS)
            except DatabaseBusyError:
                continue
            except DatabaseTimeoutError:
                for pending in batch:
                    self._start_settling(pending)
                return
            except asyncpg.PostgresError:
                break
            else:
                self._resolve(batch, results)
                return
        for pending in batch:
            await self._send_alone(pending)

    async def _send_alone(self, pending: PendingChange) -> None:
        """Send one change, so that a bad or locked row does not fail the rest of its batch."""
        try:
            results = await self._write_alone(pending)
        except DatabaseTimeoutError:
            self._start_settling(pending)
        except DatabaseBusyError as error:
            if pending.may_be_stored:
                self._start_settling(pending)
            else:
                self._park(pending, error)
        except ChangeRefusedError as error:
            _reject([pending], error)
        else:
            self._resolve([pending], results)

    async def _write_alone(self, pending: PendingChange) -> _Results:
        """Write one change.

        Raises:
            ChangeRefusedError: its values are to blame.
            DatabaseAwayError, DatabaseBusyError: PostgreSQL is.
        """
        for number in range(1, _MAX_VALUE_TRIES + 1):
            try:
                return await self._write_through_outages([pending])
            except asyncpg.PostgresError as error:
                if judge(error.sqlstate) == "bug":
                    # A statement that fails is no fault of the job, which can go on after an upgrade.
                    raise DatabaseBusyError(type(error).__name__) from error
                if number == _MAX_VALUE_TRIES:
                    raise ChangeRefusedError(str(error)) from error
        raise AssertionError

    def _start_settling(self, pending: PendingChange) -> None:
        pending.is_settling = True
        self._tasks.create_task(self._settle(pending))

    async def _settle(self, pending: PendingChange) -> None:
        """Repeat a change under the same number until its result is known. Later changes of its job wait."""
        loop = asyncio.get_running_loop()
        began, timeouts = loop.time(), 0
        try:
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                try:
                    async with self._settling:
                        self._resolve([pending], await self._write_alone(pending))
                    break
                except DatabaseTimeoutError as error:
                    timeouts += 1
                    if timeouts >= _MAX_TIMEOUTS and self._passed_at > began and pending.change.size > _LARGE:
                        raise ChangeRefusedError(
                            f"a change of {pending.change.size} bytes takes too long, while others are stored"
                        ) from error
                    if loop.time() > began + _OUTAGE_SECONDS:
                        raise
                except DatabaseBusyError as error:
                    if loop.time() > began + _patience(error):
                        raise
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _reject([pending], error)
        finally:
            self._pending.land([pending])
            self._wake.set()

    def _park(self, pending: PendingChange, error: DatabaseBusyError) -> None:
        """Retry a change that was rolled back after a pause; reject it once it has waited too long."""
        loop = asyncio.get_running_loop()
        if pending.busy_until is None:
            pending.busy_until = loop.time() + _patience(error)
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
            DatabaseTimeoutError: it has not answered in time; the batch itself may be the reason.
            DatabaseAwayError: PostgreSQL is still away; the changes may be stored.
        """
        loop = asyncio.get_running_loop()
        deadline, timeouts = loop.time() + _OUTAGE_SECONDS, 0
        # One change that settles must not keep the others waiting.
        max_timeouts = 1 if batch[0].is_settling else _MAX_TIMEOUTS
        while True:
            try:
                results = await self._write([pending.change for pending in batch])
            except DatabaseAwayError as error:
                for pending in batch:
                    pending.may_be_stored = True
                timeouts += isinstance(error, DatabaseTimeoutError)
                if loop.time() > deadline or timeouts >= max_timeouts:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE_SECONDS)
            else:
                self._passed_at = loop.time()
                if self._on_batch is not None:
                    self._on_batch(len(batch))
                return results

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


def _patience(error: DatabaseBusyError) -> float:
    """Return how long to repeat a change that was rolled back with *error*, in seconds."""
    return _OUTAGE_SECONDS if isinstance(error, DatabaseRefusingError) else _BUSY_SECONDS


def _reject(batch: list[PendingChange], error: Exception) -> None:
    for pending in batch:
        if not pending.futures:
            _log.warning("change_refused", job_id=str(pending.change.job_id), error=repr(error))
        for future in pending.futures:
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_exception(error)
