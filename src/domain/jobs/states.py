"""The states of a job and of a step run, and the only moves between them. Pure."""

from enum import StrEnum
from typing import Final, TypeVar

from headrace.domain.errors import HeadraceError


class JobState(StrEnum):
    """The state of a job. A job is in exactly one, and only the moves in `_MOVES` exist."""

    QUEUED = "queued"
    """The job waits for a worker: new, delayed, or between two attempts.

    Every job begins here and may be claimed from `run_at` on. An attempt leads back here when a step waits
    for its next try, when the worker stops, or when it vanishes; so does a user's retry of a failed job. The
    job becomes `running` when a worker claims it, `cancelled` when a user cancels it, and `failed` when it
    runs out of time between two attempts.
    """

    RUNNING = "running"
    """A worker holds the job's lease and runs one attempt.

    Only a claim leads here. The end of the attempt makes it `succeeded`, `failed`, `cancelled`, or `queued`
    again. If the worker no longer renews the lease, another worker makes it `queued`, or `failed` after
    `MAX_LOSSES`. A requested cancel overrules all of these: the job becomes `cancelled`.
    """

    SUCCEEDED = "succeeded"
    """Every step has succeeded and the result is stored. Final: nothing but deletion follows."""

    FAILED = "failed"
    """The job has ended without a result; `error` says why.

    A step failed for good, the job ran out of time, or too many workers vanished with it. Final, but a user
    may retry the job: then it is `queued` again and finished steps stay finished.
    """

    CANCELLED = "cancelled"
    """A user cancelled the job: at once when it was queued, else at the end of its attempt. Final."""

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


class StepState(StrEnum):
    """The state of one step run."""

    PENDING = "pending"
    """The step run has not begun, or waits for its next try at `retry_at`.

    A failed try that is not the last one leads here. So does the end of an attempt that interrupts a running
    step while the job is queued again. It becomes `running` in an attempt, or `cancelled` when the job ends
    first.
    """

    RUNNING = "running"
    """A try of the step runs in the current attempt.

    It becomes `succeeded`, `failed`, or `pending` when the try ends, and `pending` or `cancelled` when the
    attempt ends first.
    """

    SUCCEEDED = "succeeded"
    """The output is stored. No later attempt runs this step again, also after a user's retry. Final."""

    FAILED = "failed"
    """The last try failed, so the job fails. A user's retry of the job makes it `pending`."""

    CANCELLED = "cancelled"
    """The job ended before this step run did. A user's retry of the job makes it `pending`."""


Kind = TypeVar("Kind", JobState, StepState)


def read_state(kind: type[Kind], stored: str) -> Kind:
    """Return the state that is stored as *stored*.

    One that only a newer release knows, whose processes run beside this one, is no member of *kind*: no move
    leads out of it, and nobody can ask for it.
    """
    try:
        return kind(stored)
    except ValueError:
        unknown = str.__new__(kind, stored)
        unknown._name_ = unknown._value_ = stored
        return unknown


class IllegalTransitionError(HeadraceError):
    """A job in state *source* cannot become *target*."""

    def __init__(self, source: JobState, target: JobState) -> None:
        super().__init__(f"a {source} job cannot become {target}")
        self.source = source
        self.target = target


FINAL_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

_MOVES: Final = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED, JobState.FAILED},  # failed: out of time
    JobState.RUNNING: {JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED},
    JobState.FAILED: {JobState.QUEUED},  # an operator's retry
    JobState.SUCCEEDED: set[JobState](),
    JobState.CANCELLED: set[JobState](),
}


def move(source: JobState, target: JobState) -> JobState:
    """Return *target* when a job in *source* may become it. No move leads out of an unknown state.

    Raises:
        IllegalTransitionError: there is no such move.
    """
    if target not in _MOVES.get(source, ()):
        raise IllegalTransitionError(source, target)
    return target


def possible_predecessors(state: JobState) -> set[JobState]:
    """Return the other states in which a job may have been before it came into *state*."""
    if state not in _MOVES:
        return set(JobState)
    before: set[JobState] = set()
    reached = {state}
    while reached:
        reached = {source for source, targets in _MOVES.items() if targets & reached} - before
        before |= reached
    return before - {state}
