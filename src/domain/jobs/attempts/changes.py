"""What an attempt writes: the facts of one moment, folded to one change a job before they travel. Pure."""

from typing import Literal
from uuid import UUID

from msgspec import Struct, field

from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.types import JobError
from headrace.domain.jobs.states import JobState, StepState


class StepChange(Struct, kw_only=True):
    """The new row of a step run. JSON values are texts; None leaves what was stored."""

    key: str
    name: str
    index: int | None
    state: StepState
    attempt: int
    tries: int = 0
    items: str | None = None
    output: str | None = None
    error: str | None = None
    retry_seconds: float | None = None
    started: bool = False


class NewFile(Struct, kw_only=True, frozen=True):
    """A file whose bytes are stored and whose row comes with the event that tells of it."""

    id: UUID
    step: str
    name: str
    media_type: str
    size: int
    sha256: bytes


class JobMove(Struct, kw_only=True, frozen=True):
    """The end of an attempt, told by the last event of its change. *delay_seconds* counts for `queued` only.

    A cancel that was asked for meanwhile overrules it.
    """

    target: JobState
    result: str | None = None
    error: JobError | None = None
    delay_seconds: float = 0.0


class Change(Struct, kw_only=True):
    """Everything that one attempt wants written now; void unless *fence* is still the job's."""

    job_id: UUID
    owner_id: UUID
    fence: int
    events: list[EncodedEvent] = field(default_factory=list)
    steps: dict[str, StepChange] = field(default_factory=dict)
    files: list[NewFile] = field(default_factory=list)
    progress: float | None = None
    move: JobMove | None = None
    write_no: int = 0

    def fold(self, later: "Change") -> None:
        """Take *later*, a change of the same attempt, into this one: events follow, rows are replaced."""
        self.events.extend(later.events)
        self.files.extend(later.files)
        for key, row in later.steps.items():
            before = self.steps.get(key)
            row.started = row.started or (before is not None and before.started)
            self.steps[key] = row
        self.progress = later.progress if later.progress is not None else self.progress
        self.move = later.move or self.move

    @property
    def log_count(self) -> int:
        return sum(event.type == "log" for event in self.events)


class WriteResult(Struct, frozen=True, kw_only=True):
    """What became of a change.

    `applied`: now, or by an earlier sending whose answer was lost · `lost`: nothing more is written, since
    somebody else holds the job or it is over.
    """

    verdict: Literal["applied", "lost"]
    head: int = 0
    state: str = ""
