"""The changes of attempts that wait for the group commit: folded to one per attempt, and numbered."""

import asyncio
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from headrace.domain.jobs.attempts.changes import Change, WriteResult

MAX_BATCH: Final = 100

_MAX_BATCH_CHARS: Final = 4 * 1024 * 1024
"""Sending a batch takes several copies of its texts. A larger change is a batch of its own."""

_Key = tuple[UUID, int]


class PendingChange:
    """The folded changes of one attempt, with the futures of the callers that wait for the result."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.key = (change.job_id, change.fence)
        """The job and the fence of the attempt."""
        self.futures: list[asyncio.Future[WriteResult]] = []
        self.busy_until: float | None = None
        """When to give up on a row that another session has locked; None if it is not locked."""
        self.is_parked = False
        self.may_be_stored = False
        """It was sent without a reply, so it must be sent again unchanged, under its number."""
        self.is_settling = False
        """Its own task, not the lane, marks the job as no longer in flight."""


class PendingChanges:
    """Waiting changes by attempt. Each job has at most one change in flight."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, PendingChange] = {}
        self._write_nos: dict[_Key, int] = {}
        self._in_flight: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, change: Change) -> PendingChange:
        """Add a change, or fold it into the waiting change of the same attempt."""
        pending = self._waiting.get((change.job_id, change.fence))
        if pending is None:
            pending = PendingChange(change)
            self._waiting[pending.key] = pending
        else:
            pending.change.fold(change)
        return pending

    def take_batch(self) -> list[PendingChange]:
        """Take one change per job that is neither parked nor in flight, and mark the jobs as in flight."""
        batch: dict[UUID, PendingChange] = {}
        size = 0
        for (job_id, _), pending in self._waiting.items():
            if job_id not in batch and job_id not in self._in_flight and not pending.is_parked:
                size += pending.change.size
                if batch and size > _MAX_BATCH_CHARS:
                    break
                batch[job_id] = pending
                if len(batch) == MAX_BATCH:
                    break
        self._in_flight |= batch.keys()
        return [self._waiting.pop(pending.key) for pending in batch.values()]

    def assign_write_nos(self, batch: Iterable[PendingChange]) -> None:
        """Give each change the next write number of its attempt."""
        for pending in batch:
            pending.change.write_no = self._write_nos.get(pending.key, 0) + 1
            self._write_nos[pending.key] = pending.change.write_no

    def land(self, batch: Iterable[PendingChange]) -> None:
        """Mark the jobs of a batch as no longer in flight."""
        self._in_flight -= {pending.change.job_id for pending in batch}

    def park(self, pending: PendingChange) -> None:
        """Put back a change of which nothing was stored; later changes of its attempt are folded into it."""
        later = self._waiting.get(pending.key)
        if later is not None:
            pending.change.fold(later.change)
            pending.futures += later.futures
        self._waiting[pending.key] = pending
        pending.is_parked = True

    def end_attempt(self, job_id: UUID, fence: int) -> None:
        """Drop the write number of an attempt that has ended."""
        self._write_nos.pop((job_id, fence), None)
