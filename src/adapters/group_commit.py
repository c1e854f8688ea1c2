"""Changes of concurrent attempts travel together: a batch is what gathered while the last one was under way.

There is no timer: a lone change leaves at once. Two batches may be in flight, so that the worker goes on
with what one has answered while PostgreSQL writes the other. A job is in one of them at most: what it adds
meanwhile is folded into its next change.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.events.news import JobNews, Publisher
from headrace.domain.jobs.attempts.changes import Change, WriteResult

_log = structlog.get_logger(__name__)

_LANES: Final = 2
_MOST: Final = 100
_TRIES_TOGETHER: Final = 3
_BUSY_PAUSE_SECONDS: Final = 0.2
_BUSY_SECONDS: Final = 60.0
_OUTAGE_PAUSE_SECONDS: Final = 0.25
_OUTAGE_SECONDS: Final = 300.0

Write = Callable[[Sequence[Change]], Awaitable[dict[UUID, tuple[WriteResult, JobNews | None]]]]


_Key = tuple[UUID, int]


class _Pending:
    """One attempt's changes that wait, folded, and those who wait for them."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.waiting: list[asyncio.Future[WriteResult]] = []
        self.busy_until: float | None = None
        self.is_parked = False
        # Sent once without an answer: it must go as it is, under its number, until the verdict is known.
        self.may_be_stored = False
        # Its task, and not the lane, says when the job is free again.
        self.is_settling = False


class GroupCommit:
    """Gathers changes and writes them in batches; `run` is its one task.

    A row that somebody else holds is parked and tried alone a few times a second: its neighbours go on.
    """

    def __init__(self, write: Write, publisher: Publisher) -> None:
        self._write = write
        self._publisher = publisher
        self._pending: dict[_Key, _Pending] = {}
        self._write_nos: dict[_Key, int] = {}
        self._in_flight: set[UUID] = set()
        self._tasks = asyncio.TaskGroup()
        self._wake = asyncio.Event()
        self._closing = False

    def submit(self, change: Change) -> asyncio.Future[WriteResult]:
        """Have *change* written; the future has the verdict once it is known.

        The future fails with what PostgreSQL said when this very change is refused by it.
        """
        future: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        self.enqueue(change).waiting.append(future)
        return future

    def enqueue(self, change: Change) -> "_Pending":
        """Have *change* written without an answer; a refusal is logged unless somebody else waits for it."""
        key = (change.job_id, change.fence)
        pending = self._pending.get(key)
        if pending is not None:
            pending.change.fold(change)
        else:
            pending = self._pending[key] = _Pending(change)
        self._wake.set()
        return pending

    def end_attempt(self, job_id: UUID, fence: int) -> None:
        """That attempt is over."""
        self._write_nos.pop((job_id, fence), None)

    async def run(self) -> None:
        """Write until closed and empty."""
        async with asyncio.TaskGroup() as self._tasks:
            for _ in range(_LANES):
                self._tasks.create_task(self._lane())

    async def _lane(self) -> None:
        while True:
            await self._gather()
            batch = self._next_batch()
            if batch:
                self._in_flight |= {pending.change.job_id for pending in batch}
                await self._send(batch)
                self._in_flight -= {pending.change.job_id for pending in batch if not pending.is_settling}
                # The other lane may wait for what these jobs have added meanwhile.
                self._wake.set()
            elif self._closing and not self._pending:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _gather(self) -> None:
        """Let what is about to write do so: no timer, only turns of the loop while the batch grows."""
        count = -1
        while count < len(self._pending) < _MOST:
            count = len(self._pending)
            await asyncio.sleep(0)

    def close(self) -> None:
        """Let `run` end when everything is written."""
        self._closing = True
        self._wake.set()

    def _next_batch(self) -> list[_Pending]:
        """What is not parked, of each job one change that no other is before."""
        batch: dict[UUID, _Pending] = {}
        for (job_id, _), pending in self._pending.items():
            if job_id not in batch and job_id not in self._in_flight and not pending.is_parked:
                batch[job_id] = pending
                if len(batch) == _MOST:
                    break
        return [self._pending.pop((one.change.job_id, one.change.fence)) for one in batch.values()]

    async def _send(self, batch: list[_Pending]) -> None:
        for pending in batch:
            change = pending.change
            key = (change.job_id, change.fence)
            change.write_no = self._write_nos.get(key, 0) + 1
            self._write_nos[key] = change.write_no
        try:
            free = [pending for pending in batch if pending.busy_until is None]
            if free:
                await self._send_together(free)
            for pending in batch:
                if pending.busy_until is not None and pending not in free:
                    await self._send_alone(pending)
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _answer_all(batch, error)

    async def _send_together(self, batch: list[_Pending]) -> None:
        for _ in range(_TRIES_TOGETHER):
            try:
                outcomes = await self._through_outages(batch)
            except DatabaseBusyError:
                continue
            except asyncpg.PostgresError as error:
                if len(batch) == 1:
                    _answer_all(batch, error)
                    return
                break
            self._answer(batch, outcomes)
            return
        for pending in batch:
            await self._send_alone(pending)

    async def _send_alone(self, pending: _Pending) -> None:
        """One bad row, or one that somebody holds, must not hold up its neighbours."""
        try:
            outcomes = await self._through_outages([pending])
        except DatabaseBusyError as error:
            if pending.may_be_stored:
                pending.is_settling = True
                self._tasks.create_task(self._settle(pending))
            else:
                self._park(pending, error)
        except asyncpg.PostgresError as error:
            _answer_all([pending], error)
        else:
            self._answer([pending], outcomes)

    async def _settle(self, pending: _Pending) -> None:
        """Ask again under the same number until the verdict is known; the job's next changes wait for it."""
        deadline = asyncio.get_running_loop().time() + _BUSY_SECONDS
        try:
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                try:
                    self._answer([pending], await self._through_outages([pending]))
                except DatabaseBusyError:
                    if asyncio.get_running_loop().time() < deadline:
                        continue
                    raise
                break
        except Exception as error:  # noqa: BLE001  (the callers get it)
            _answer_all([pending], error)
        finally:
            self._in_flight.discard(pending.change.job_id)
            self._wake.set()

    def _park(self, pending: _Pending, error: DatabaseBusyError) -> None:
        """Nothing of the change was kept, so what comes meanwhile may be folded into it."""
        loop = asyncio.get_running_loop()
        if pending.busy_until is None:
            pending.busy_until = loop.time() + _BUSY_SECONDS
        elif loop.time() > pending.busy_until:
            _answer_all([pending], error)
            return
        key = (pending.change.job_id, pending.change.fence)
        later = self._pending.get(key)
        if later is not None:
            pending.change.fold(later.change)
            pending.waiting += later.waiting
        self._pending[key] = pending
        pending.is_parked = True
        loop.call_later(_BUSY_PAUSE_SECONDS, self._unpark, pending)

    def _unpark(self, pending: _Pending) -> None:
        pending.is_parked = False
        self._wake.set()

    async def _through_outages(self, batch: list[_Pending]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        """Try again while PostgreSQL is away, for five minutes: the fence decides afterwards whose job it is.

        Raises:
            DatabaseAwayError: it is still away; what was sent may be stored.
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

    def _answer(
        self, batch: list[_Pending], outcomes: dict[UUID, tuple[WriteResult, JobNews | None]]
    ) -> None:
        news = []
        for pending in batch:
            written, told = outcomes[pending.change.job_id]
            if told is not None:
                news.append(told)
            for future in pending.waiting:
                if not future.done():
                    future.set_result(written)
        self._publisher.publish(news)


def _answer_all(batch: list[_Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.waiting:
            _log.warning("change_refused", job_id=str(pending.change.job_id), error=repr(error))
        for future in pending.waiting:
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_exception(error)
