"""The record of a job that has run in memory."""

from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from headrace.domain.events.types import JobError

T = TypeVar("T")


class StepOutcome(Struct, kw_only=True):
    """One step run. *key* names it, as in `render[1]`; *index* and *item* are None without `for_each`.

    *tries*: how often its function was called. *output* was read from JSON, as a later step reads it.
    *errors*: one for each try that failed.
    """

    name: str
    key: str
    index: int | None = None
    item: Any = None
    state: str = "running"
    tries: int = 0
    output: Any = None
    errors: list[JobError] = []


class LogEntry(Struct, kw_only=True, frozen=True):
    """A line of `context.log` or `print`, or one of `logging` from level `info` on.

    *step* is the key of the step run.
    """

    step: str
    level: str
    message: str
    fields: dict[str, Any]


class ProgressReport(Struct, kw_only=True, frozen=True):
    """A call of `context.progress`. *step* is the key of the step run."""

    step: str
    done: float
    total: float
    message: str | None


class SavedFile(Struct, kw_only=True, frozen=True):
    """A file that `context.save_file` has saved. *step* is the key of the step run."""

    id: UUID
    step: str
    name: str
    media_type: str
    content: bytes


class JobRun(Struct, kw_only=True):
    """A job that has run in memory.

    *state* is `succeeded` or `failed`. *result* was read from JSON as the annotation of its step says.
    *error* says why the job failed. *steps* are in the order in which they began. *progress* holds every
    report, while a worker thins them out.
    """

    state: str
    result: Any
    error: JobError | None
    steps: list[StepOutcome]
    logs: list[LogEntry]
    progress: list[ProgressReport]
    files: list[SavedFile]

    def step(self, key: str) -> StepOutcome:
        """Return the step run with that key.

        Raises:
            LookupError: it has not begun.
        """
        return _only(key, "step", {run.key: run for run in self.steps})

    def file(self, name: str) -> SavedFile:
        """Return the file of that name; of several, that of the last step that saved one.

        Raises:
            LookupError: no step has saved one.
        """
        return _only(name, "file", {file.name: file for file in self.files})


def _only(name: str, kind: str, values: dict[str, T]) -> T:
    if name not in values:
        known = ", ".join(values) or "none"
        raise LookupError(f"there is no {kind} {name!r}; there are: {known}")
    return values[name]
