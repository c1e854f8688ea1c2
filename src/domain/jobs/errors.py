"""What may not be done with a job, and why."""

from uuid import UUID

from headrace.domain.errors import HeadraceError


class JobNotFoundError(HeadraceError):
    """There is no such job, or it is somebody else's: the two look the same."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


class JobNotFinalError(HeadraceError):
    """Only a job that has ended can be deleted."""

    def __init__(self, job_id: UUID, state: str) -> None:
        super().__init__(f"job {job_id} is {state}; only a job that has ended can be deleted")
        self.job_id = job_id
        self.state = state


class LeaseLostError(HeadraceError):
    """Somebody else holds the job now: whatever this attempt still writes is void."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"the lease on job {job_id} is lost")
        self.job_id = job_id


class IdempotencyConflictError(HeadraceError):
    """The key was used for another submission within the last 24 hours."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used with another body")
        self.key = key


class CursorBeyondHeadError(HeadraceError):
    """A stream was asked to go on from an event that has not happened."""

    def __init__(self, after: int, head: int) -> None:
        super().__init__(f"after={after} is beyond the newest event, {head}")
        self.after = after
        self.head = head


class PresetNotFoundError(HeadraceError):
    """There is no such preset, or it is somebody else's: the two look the same."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"there is no preset {preset_id}")
        self.preset_id = preset_id


class PresetBusyError(HeadraceError):
    """Somebody changes or deletes the preset right now."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"preset {preset_id} is being changed; try again")
        self.preset_id = preset_id
