"""The changes that attempts write: events, step rows and files, folded to one change per job. Pure."""

from typing import Literal
from uuid import UUID

from msgspec import Struct, field

from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.types import JobError
from headrace.domain.jobs.states import JobState, StepState


class StepChange(Struct, kw_only=True):
    """The new row of a step run. *items*, *output* and *error* are JSON texts.

    None keeps the stored items and output, and clears the error.
    """

    key: str
    index: int | None
    state: StepState
    tries: int = 0
    items: str | None = None
    output: str | None = None
    error: str | None = None
    retry_seconds: float | None = None
    started: bool = False


class NewFile(Struct, kw_only=True, frozen=True):
    """A file whose bytes are stored; its row is written together with its `file.created` event."""

    id: UUID
    step: str
    name: str
    media_type: str
    size: int
    sha256: bytes
    blob_key: UUID


class JobMove(Struct, kw_only=True, frozen=True):
    """The end of an attempt, whose event is the last of its change.

    *result_step* names the step whose stored outputs are the result, if that is too large to be stored twice.
    *delay_seconds* (without one, the job keeps its place in the queue), *needs_process* (its next step runs
    in a process), *waited_seconds* (the part of its time that the attempt only waited) and *ended_at* (when
    the attempt ended, by the monotonic clock) are for `queued` only.
    If a cancel was requested, the database cancels the job instead.
    """

    target: JobState
    result: str | None = None
    result_step: str | None = None
    error: JobError | None = None
    delay_seconds: float = 0.0
    needs_process: bool = False
    waited_seconds: float = 0.0
    ended_at: float | None = None


class Change(Struct, kw_only=True):
    """Everything that one attempt writes at a time. It is void unless *fence* is still the job's."""

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
        """Merge *later*, a change of the same attempt, into this one: append events, replace step rows."""
        self.events.extend(later.events)
        self.files.extend(later.files)
        for key, row in later.steps.items():
            earlier = self.steps.get(key)
            row.started = row.started or (earlier is not None and earlier.started)
            self.steps[key] = row
        self.progress = later.progress if later.progress is not None else self.progress
        self.move = later.move or self.move

    @property
    def size(self) -> int:
        """The characters of its JSON texts, which are most of what is sent."""
        size = sum([len(event.body) for event in self.events])
        for row in self.steps.values():
            size += len(row.items or "") + len(row.output or "")
        return size if self.move is None else size + len(self.move.result or "")

    @property
    def log_count(self) -> int:
        return sum(event.type == "log" for event in self.events)


class WriteResult(Struct, frozen=True, kw_only=True):
    """The result of writing a change.

    *verdict*: `applied`: now, or by an earlier try whose answer was lost · `lost`: nothing was written, and
    nothing will be, since another attempt holds the job or the job has ended.
    """

    verdict: Literal["applied", "lost"]
    head: int = 0
    state: str = ""
