"""What is told to the world after a commit. Losing it costs a moment, never an event."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from domain.events.types import LoggedEvent, ProgressFrame


class JobNews(Struct, frozen=True, kw_only=True):
    """New events of one job, as they stand in the log, and where the job is now."""

    job_id: UUID
    owner_id: UUID
    pipeline: str
    state: str
    head: int
    progress: float
    events: Sequence[LoggedEvent]


class JobSummary(Struct, frozen=True, kw_only=True, tag="job", tag_field="type"):
    """What the owner's channel says of a job."""

    job_id: UUID
    head: int
    state: str
    progress: float
    pipeline: str


class Publisher(Protocol):
    """Tells news; drops them silently when nobody can be reached."""

    def publish(self, news: Sequence[JobNews]) -> None: ...

    def publish_progress(self, job_id: UUID, frame: ProgressFrame) -> None: ...
