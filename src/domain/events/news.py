"""What is told to the world after a commit. Losing it costs a moment, never an event."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Row
from headrace.domain.events.encoding import EncodedEvent, LoggedEvent, number_events
from headrace.domain.events.types import ProgressFrame


class JobSummary(Struct, frozen=True, kw_only=True, tag="job", tag_field="type"):
    """Where a job is now."""

    job_id: UUID
    head: int
    state: str
    progress: float
    pipeline: str


class JobNews(Struct, frozen=True, kw_only=True):
    """New events of one job, logged *at* one time as the last ones up to *head*, and where the job is now."""

    job_id: UUID
    owner_id: UUID
    pipeline: str
    state: str
    head: int
    progress: float
    at: datetime
    events: Sequence[EncodedEvent]

    @classmethod
    def from_row(cls, row: Row, events: Sequence[EncodedEvent]) -> "JobNews":
        """Return the news of a statement that changed the job in *row* and logged *events*."""
        return cls(
            job_id=row["id"],
            owner_id=row["owner_id"],
            pipeline=row["pipeline"],
            state=row["state"],
            head=row["head"],
            progress=row["progress"],
            at=row["at"],
            events=events,
        )

    def logged(self) -> list[LoggedEvent]:
        """The events as they stand in the log."""
        return number_events(self.job_id, self.head, self.at, self.events)

    @property
    def summary(self) -> JobSummary:
        return JobSummary(
            job_id=self.job_id,
            head=self.head,
            state=self.state,
            progress=self.progress,
            pipeline=self.pipeline,
        )


class JobDeleted(Struct, frozen=True, kw_only=True, tag="job.deleted", tag_field="type"):
    """A job that was shown is gone."""

    job_id: UUID


class Publisher(Protocol):
    """Tells news; drops them silently when nobody can be reached."""

    def publish(self, news: Sequence[JobNews]) -> None: ...

    def publish_progress(self, job_id: UUID, frame: ProgressFrame) -> None: ...
