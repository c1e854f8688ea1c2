"""News of jobs, published after a commit. Lost news delay a watcher and never lose an event."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Row
from headrace.domain.events.encoding import EncodedEvent, LoggedEvent, number_events
from headrace.domain.events.types import ProgressFrame


class JobSummary(Struct, frozen=True, kw_only=True, tag="job", tag_field="type"):
    """The newest state of a job, as a frame of the overview."""

    job_id: UUID
    head: int
    state: str
    progress: float
    pipeline: str


class JobNews(Struct, frozen=True, kw_only=True):
    """The new events of one job, of which the last has the number *head*, and the job's newest state."""

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
        """Return the events as they are in the log."""
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
    """A job of the overview was deleted."""

    job_id: UUID


FrameSource = Callable[[], ProgressFrame]


class Publisher(Protocol):
    """Publishes news to watchers in all processes; drops them while Redis is away."""

    def publish(self, news: Sequence[JobNews]) -> None: ...

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None:
        """Publish the progress of a job. *frame* is called only if somebody listens."""
