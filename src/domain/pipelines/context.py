"""The interface of a running step to its job, and the errors with which a step fails."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.definition import StepHandle

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # A `StepContext` without brackets has params of any type.
    P_co = TypeVar("P_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    P_co = TypeVar("P_co", covariant=True)


class RetryableError(HeadraceError):
    """The try failed, but another may succeed.

    *retry_after* (a timedelta, or seconds) replaces the computed backoff. It is at most ten years; with a
    longer one the step fails for good, with the code `retry_after_invalid`.
    """

    retry_after_seconds: float | None = None

    def __init__(self, message: str, *, retry_after: timedelta | float | None = None) -> None:
        super().__init__(message)
        seconds = retry_after.total_seconds() if isinstance(retry_after, timedelta) else retry_after
        self.retry_after_seconds = None if seconds is None else max(0.0, float(seconds))


class PermanentError(HeadraceError):
    """A retry cannot succeed: the job fails at once, with *code* and the message."""

    code: str = "permanent_error"

    def __init__(self, message: str, *, code: str = "permanent_error") -> None:
        super().__init__(message)
        self.code = code


class JobCancelledError(HeadraceError):
    """The job is being cancelled. `raise_if_cancelled` raises it; a step must not catch it."""

    def __init__(self) -> None:
        super().__init__("the job is cancelled")


class StepContext(Protocol[P_co]):
    """The interface of a running step to its job.

    A `loop` step awaits the methods. In `thread` and `process` steps they are plain calls.
    """

    @property
    def params(self) -> P_co:
        """The job's parameters, decoded into the type that the pipeline declares."""

    @property
    def job_id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """The number of this attempt of the job, from 1."""

    @property
    def scratch(self) -> Path:
        """An empty folder for this try, removed when the try ends."""

    def output(self, step: StepHandle) -> Any:
        """Return the output of an earlier step; for a `for_each` step, the list of outputs in item order."""

    def progress(self, done: float, total: float, message: str | None = None) -> Any:
        """Report *done* of *total* units of work. Calls are cheap: frequent reports are thinned out."""

    def log(self, message: str, level: str = "info", **fields: Any) -> Any:
        """Append a line (at most 8 KiB) to the job's events."""

    def save_file(self, name: str, data_or_path: bytes | Path | str, media_type: str) -> Any:
        """Store bytes, or the file at a path, as a file of the job. Return its id (UUID).

        If another try of the step saves the same name, it replaces the file. It waits for a store that
        fails.

        Raises:
            PermanentError: the file is too large, or there is no room for it.
        """

    def open_file(self, file_id: UUID | str) -> Any:
        """Open a file of the job's owner for reading in binary mode.

        Raises:
            PermanentError: the owner has no such file, or it alone cannot be read.
        """

    def raise_if_cancelled(self) -> Any:
        """Stop the step if the job is being cancelled or this try has timed out.

        Raises:
            JobCancelledError: the step must stop; do not catch it.
        """
