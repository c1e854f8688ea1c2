"""The newest state of one owner's jobs, numbered by change, for many watchers of a process. Pure.

A watcher keeps only the number of the last change that it has seen. A job that changes several times between
two reads is read once, in its newest state.
"""

from collections import OrderedDict
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.events.news import JobDeleted, JobSummary
from headrace.domain.events.observable import Observable
from headrace.domain.jobs.states import FINAL_STATES, JobState, possible_predecessors, read_state

MAX_JOBS: Final = 20_000

_encode: Final = msgspec.json.Encoder().encode


class OverviewFilter(Struct, frozen=True, kw_only=True):
    """The jobs that a watcher wants to see; None matches all."""

    state: JobState | None = None
    pipeline: str | None = None
    tag: str | None = None


class OverviewEntry(Struct, kw_only=True):
    """One job, last changed at *number*; 0: no watcher has to see it.

    *left* has the number of the change with which the job left a state.
    """

    summary: JobSummary
    frame: bytes
    number: int
    left: dict[str, int]
    is_deleted: bool = False


class Overview(Observable):
    """The jobs of one owner that watchers may still have to see, ordered by their last change."""

    def __init__(self, max_jobs: int = MAX_JOBS) -> None:
        super().__init__()
        self._max_jobs = max_jobs
        self._jobs: OrderedDict[UUID, OverviewEntry] = OrderedDict()
        self._dropped_number = 0
        self.number = 0

    def seed(self, summary: JobSummary) -> None:
        """Store a job without a change for watchers, unless the summary is newer than the stored one."""
        if summary.job_id in self._jobs:
            self.update(summary)
            return
        self._jobs[summary.job_id] = OverviewEntry(summary=summary, frame=b"", number=0, left={})
        self._jobs.move_to_end(summary.job_id, last=False)
        self._drop_oldest()

    def update(self, summary: JobSummary) -> bool:
        """Store a job's new state as a change; return False when it is not newer than the stored one."""
        entry = self._jobs.get(summary.job_id)
        if entry is None:
            state = read_state(JobState, summary.state)
            left = {str(before): self.number + 1 for before in possible_predecessors(state)}
        elif entry.is_deleted or _age(summary) <= _age(entry.summary):
            return False
        else:
            left = entry.left
            if summary.state != entry.summary.state:
                left[entry.summary.state] = self.number + 1
        self._number(OverviewEntry(summary=summary, frame=_encode(summary), number=0, left=left))
        return True

    def delete(self, job_id: UUID) -> None:
        """Store the deletion of a job as a change."""
        entry = self._jobs.get(job_id)
        if entry is not None and not entry.is_deleted:
            entry.frame, entry.is_deleted = _encode(JobDeleted(job_id=job_id)), True
            self._number(entry)

    def final_jobs(self, limit: int) -> list[UUID]:
        """Return the jobs in a final state, the last to change first: only those can be deleted."""
        job_ids = (
            entry.summary.job_id
            for entry in reversed(self._jobs.values())
            if not entry.is_deleted and entry.summary.state in FINAL_STATES
        )
        return list(islice(job_ids, limit))

    def invalidate(self) -> None:
        """Make every watcher start again from a snapshot, because changes were missed."""
        self.number += 1
        self._dropped_number = self.number

    def has_dropped_changes(self, cursor: int) -> bool:
        """Return whether changes after *cursor* were dropped."""
        return cursor < self._dropped_number

    def after(self, cursor: int, filters: OverviewFilter, limit: int) -> tuple[list[OverviewEntry], int]:
        """Return those of the next *limit* changes after *cursor* that match, and the cursor behind them.

        A job that no longer matches is among them once, in its newest state. Tags are not compared.
        """
        changed = self._after(cursor, limit)
        matching = [entry for entry in changed if _matches(entry, filters, cursor)]
        return matching, changed[-1].number if changed else cursor

    def _after(self, cursor: int, limit: int) -> list[OverviewEntry]:
        newer: list[OverviewEntry] = []
        for entry in reversed(self._jobs.values()):
            if entry.number <= cursor:
                break
            newer.append(entry)
        newer.reverse()
        return newer[:limit]

    def _number(self, entry: OverviewEntry) -> None:
        self.number += 1
        entry.number = self.number
        self._jobs[entry.summary.job_id] = entry
        self._jobs.move_to_end(entry.summary.job_id)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._jobs) > self._max_jobs:
            _, entry = self._jobs.popitem(last=False)
            self._dropped_number = max(self._dropped_number, entry.number)


def _age(summary: JobSummary) -> tuple[int, float]:
    return summary.head, summary.progress


def _matches(entry: OverviewEntry, filters: OverviewFilter, cursor: int) -> bool:
    if filters.pipeline is not None and entry.summary.pipeline != filters.pipeline:
        return False
    if filters.state is None or entry.summary.state == filters.state:
        return True
    return entry.left.get(filters.state, 0) > cursor
