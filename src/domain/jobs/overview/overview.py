"""What a process knows of one owner's jobs: the newest of each, numbered by change, for many watchers. Pure.

A watcher keeps only the number up to which it has seen. Between two looks of it a job may change often; it is
told once, as the job is then.
"""

from collections import OrderedDict
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.events.news import JobDeleted, JobSummary
from headrace.domain.events.observable import Observable
from headrace.domain.jobs.states import JobState, possible_predecessors

MAX_JOBS: Final = 20_000

_encode: Final = msgspec.json.Encoder().encode


class OverviewFilter(Struct, frozen=True, kw_only=True):
    """Which jobs a watcher wants; None: any."""

    state: JobState | None = None
    pipeline: str | None = None
    tag: str | None = None


class OverviewEntry(Struct, kw_only=True):
    """One job. *left* says at which number it left a state; *number* 0: no watcher needs to hear of it."""

    summary: JobSummary
    frame: bytes
    number: int
    left: dict[str, int]
    is_deleted: bool = False


class Overview(Observable):
    """The jobs of one owner, as far as anybody may still have to hear of them."""

    def __init__(self, most: int = MAX_JOBS) -> None:
        super().__init__()
        self._most = most
        self._jobs: OrderedDict[UUID, OverviewEntry] = OrderedDict()
        self._forgotten = 0
        self.number = 0

    def seed(self, summary: JobSummary) -> None:
        """Take what is no news to anybody who looks from now on; what is newer than known is news."""
        if summary.job_id in self._jobs:
            self.update(summary)
            return
        self._jobs[summary.job_id] = OverviewEntry(summary=summary, frame=b"", number=0, left={})
        self._jobs.move_to_end(summary.job_id, last=False)
        self._forget_oldest()

    def update(self, summary: JobSummary) -> bool:
        """Take where a job is now; False when that is known, or older than what is known."""
        known = self._jobs.get(summary.job_id)
        if known is None:
            left = {str(state): self.number + 1 for state in possible_predecessors(JobState(summary.state))}
        elif known.is_deleted or _age(summary) <= _age(known.summary):
            return False
        else:
            left = known.left
            if summary.state != known.summary.state:
                left[known.summary.state] = self.number + 1
        self._number(OverviewEntry(summary=summary, frame=_encode(summary), number=0, left=left))
        return True

    def delete(self, job_id: UUID) -> None:
        """The job is gone."""
        known = self._jobs.get(job_id)
        if known is not None and not known.is_deleted:
            known.frame, known.is_deleted = _encode(JobDeleted(job_id=job_id)), True
            self._number(known)

    def ended(self, limit: int) -> list[UUID]:
        """The known jobs that are over, the last to change first: those may be deleted."""
        over = (
            known.summary.job_id
            for known in reversed(self._jobs.values())
            if not known.is_deleted and JobState(known.summary.state).is_final
        )
        return list(islice(over, limit))

    def invalidate(self) -> None:
        """Have everybody who watches now begin anew: changes were missed."""
        self.number += 1
        self._forgotten = self.number

    def has_dropped_changes(self, cursor: int) -> bool:
        """Whether changes after *cursor* are not known any more."""
        return cursor < self._forgotten

    def after(self, cursor: int, wanted: OverviewFilter, limit: int) -> tuple[list[OverviewEntry], int]:
        """The wanted among the next *limit* changes after *cursor*, in order, and the cursor behind them.

        A job that was wanted and is no longer is among them once, as it is now. Tags are not looked at.
        """
        changed = self._after(cursor, limit)
        return [known for known in changed if _matches(known, wanted, cursor)], (
            changed[-1].number if changed else cursor
        )

    def _after(self, cursor: int, limit: int) -> list[OverviewEntry]:
        newer: list[OverviewEntry] = []
        for known in reversed(self._jobs.values()):
            if known.number <= cursor:
                break
            newer.append(known)
        newer.reverse()
        return newer[:limit]

    def _number(self, known: OverviewEntry) -> None:
        self.number += 1
        known.number = self.number
        self._jobs[known.summary.job_id] = known
        self._jobs.move_to_end(known.summary.job_id)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._jobs) > self._most:
            _, known = self._jobs.popitem(last=False)
            self._forgotten = max(self._forgotten, known.number)


def _age(summary: JobSummary) -> tuple[int, float]:
    return summary.head, summary.progress


def _matches(known: OverviewEntry, wanted: OverviewFilter, cursor: int) -> bool:
    if wanted.pipeline is not None and known.summary.pipeline != wanted.pipeline:
        return False
    if wanted.state is None or known.summary.state == wanted.state:
        return True
    return known.left.get(wanted.state, 0) > cursor
