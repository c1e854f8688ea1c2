"""What a step may use while it runs, and how it says that it failed."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.definition import StepHandle

P_co = TypeVar("P_co", covariant=True)


class RetryableError(HeadraceError):
    """This try failed, another may succeed.

    *retry_after* (a timedelta, or seconds) replaces the computed backoff.
    """

    def __init__(self, message: str, *, retry_after: timedelta | float | None = None) -> None:
        super().__init__(message)
        seconds = retry_after.total_seconds() if isinstance(retry_after, timedelta) else retry_after
        self.retry_after_seconds = None if seconds is None else max(0.0, float(seconds))


class PermanentError(HeadraceError):
    """No retry mends this: the job fails at once, with *code* and the message."""

    def __init__(self, message: str, *, code: str = "permanent_error") -> None:
        super().__init__(message)
        self.code = code


class JobCancelledError(HeadraceError):
    """The job is to be cancelled; raised by `raise_if_cancelled`, to be let through."""

    def __init__(self) -> None:
        super().__init__("the job is cancelled")


class StepContext(Protocol[P_co]):
    """A step's window on its job.

    The methods are awaited in a `loop` step; in `thread` and `process` steps the same names are plain calls.
    """

    @property
    def params(self) -> P_co:
        """The job's parameters, decoded into the pipeline's struct."""

    @property
    def job_id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """Which claim of the job this is, from 1."""

    @property
    def scratch(self) -> Path:
        """An empty folder for this try alone; it is removed afterwards."""

    def output(self, step: StepHandle) -> Any:
        """What an earlier step returned; of a `for_each` step, the list in item order."""

    def progress(self, done: float, total: float, message: str | None = None) -> Any:
        """Report *done* of *total* units of work. Calls are cheap: what comes too often is dropped."""

    def log(self, message: str, level: str = "info", **fields: Any) -> Any:
        """Add a line (at most 8 KiB) to the job's durable history."""

    def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> Any:
        """Keep bytes, or the file at a path, as a file of the job; returns its id (UUID).

        A second try of the step that saves the same name replaces the first one's file.
        """

    def open_file(self, file_id: UUID | str) -> Any:
        """Open a file of the job's owner for reading (binary).

        Raises:
            PermanentError: no such file, or somebody else's.
        """

    def raise_if_cancelled(self) -> Any:
        """Leave the step when the job is to be cancelled or this try is out of time.

        Raises:
            JobCancelledError: stop now; let it through.
        """
