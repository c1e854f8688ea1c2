"""The errors of jobs and their submissions."""

from uuid import UUID

from headrace.domain.errors import HeadraceError


class JobNotFoundError(HeadraceError):
    """The job does not exist or is not within reach; the caller cannot tell which."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


class JobNotFinalError(HeadraceError):
    """The job cannot be deleted because it has not ended."""

    def __init__(self, job_id: UUID, state: str) -> None:
        super().__init__(f"job {job_id} is {state}; only a job that has ended can be deleted")
        self.job_id = job_id
        self.state = state


class SearchTimeLimitError(HeadraceError):
    """A search took longer than its time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the search took longer than {seconds} s: narrow it by state, created_after or created_before"
        )


class LeaseLostError(HeadraceError):
    """Another attempt holds the job, or it has ended: nothing that this attempt writes counts."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"the lease on job {job_id} is lost")
        self.job_id = job_id


class ChangeRefusedError(HeadraceError):
    """PostgreSQL does not store the values of an attempt's change; a retry cannot help."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL does not store a value of the job: {reason}")


class IdempotencyConflictError(HeadraceError):
    """The key was used for another submission within the last 24 hours."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used with another body")
        self.key = key


class JobDeletedError(HeadraceError):
    """All jobs that a repeated submission has stored were deleted since. *job_id* is the first of them."""

    def __init__(self, job_id: UUID, count: int) -> None:
        jobs = f"job {job_id}" if count == 1 else f"{count} jobs from {job_id} on"
        super().__init__(
            f"the idempotency key was used for {jobs}, deleted since; use another key to submit again"
        )
        self.job_id = job_id


class CursorBeyondHeadError(HeadraceError):
    """A client wants to resume a stream after an event that does not exist."""

    def __init__(self, after: int, head: int) -> None:
        super().__init__(f"after={after} is beyond the newest event, {head}")
        self.after = after
        self.head = head


class PresetNotFoundError(HeadraceError):
    """The preset does not exist or is not within reach; the caller cannot tell which."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"there is no preset {preset_id}")
        self.preset_id = preset_id


class PresetBusyError(HeadraceError):
    """Another transaction is changing or deleting the preset."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"preset {preset_id} is being changed; try again")
        self.preset_id = preset_id
