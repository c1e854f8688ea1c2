"""The states of a job and of a step run, and the only moves between them. Pure."""

from enum import StrEnum
from typing import Final

from headrace.domain.errors import HeadraceError


class JobState(StrEnum):
    """Where a job stands. `queued` also means delayed, or waiting for its next try: `run_at` says when."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


class StepState(StrEnum):
    """Where one step run stands. `pending` also means waiting for its next try."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class IllegalTransitionError(HeadraceError):
    """A job in one state cannot become the other."""

    def __init__(self, source: JobState, target: JobState) -> None:
        super().__init__(f"a {source} job cannot become {target}")
        self.source = source
        self.target = target


_FINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

_MOVES: Final = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED, JobState.FAILED},  # failed: out of time
    JobState.RUNNING: {JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED},
    JobState.FAILED: {JobState.QUEUED},  # an operator's retry
    JobState.SUCCEEDED: set[JobState](),
    JobState.CANCELLED: set[JobState](),
}


def move(source: JobState, target: JobState) -> JobState:
    """Return *target* when a job in *source* may become it.

    Raises:
        IllegalTransitionError: the two states are not connected.
    """
    if target not in _MOVES[source]:
        raise IllegalTransitionError(source, target)
    return target


def may_have_been(state: JobState) -> set[JobState]:
    """The other states in which a job may have been before it came into *state*."""
    before: set[JobState] = set()
    found = {state}
    while found:
        found = {source for source, targets in _MOVES.items() if targets & found} - before
        before |= found
    return before - {state}
