"""The state that the database must have according to the model. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from msgspec import Struct, field

from headrace.domain.jobs.attempts.changes import StepChange
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.states import JobState, StepState
from support.lease_model import ModelJob, Outcome

_UNFINISHED: Final = frozenset({StepState.PENDING, StepState.RUNNING})
_LETTERS: Final = {
    "job.queued": "q",
    "job.started": "s",
    "job.requeued": "r",
    "job.cancel_requested": "c",
    "attempt.lost": "l",
    "job.failed": "f",
    "job.retried": "t",
    "job.succeeded": "d",
    "job.cancelled": "x",
}
# Any number of rounds that end in the queue, then at most one that runs or has ended for good.
_LEGAL_HISTORY: Final = re.compile(r"q(sl?r|sl?ft|ft)*(sc?|sd|sl?f|sc?x|sclx|f|x)?")


class ExpectedJob(Struct):
    """The expected state of a job. *turn* orders jobs of the same priority by the time of queueing."""

    priority: int
    turn: int
    job: ModelJob
    history: list[str] = field(default_factory=lambda: ["job.queued"])
    steps: dict[str, StepState] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[int, int]:
        return -self.priority, self.turn

    def apply(self, outcome: Outcome, turn: int, rows: Iterable[StepChange] = ()) -> None:
        """Apply an outcome; *rows* are the step changes of an attempt's write."""
        self.job = outcome.job
        self.history += outcome.events
        if "job.retried" in outcome.events:
            self.turn = turn  # else the job keeps its place in the queue
        for row in rows:
            if self.steps.get(row.key) is not StepState.SUCCEEDED:
                self.steps[row.key] = row.state
        if self.job.state is not JobState.RUNNING:
            self._settle(is_retried="job.retried" in outcome.events)

    @property
    def unfinished(self) -> dict[str, StepState]:
        return {key: state for key, state in self.steps.items() if state in _UNFINISHED}

    def _settle(self, *, is_retried: bool) -> None:
        """Stop the steps of a job that does not run; cancel the unfinished steps of an ended job."""
        for key, state in self.steps.items():
            if self.job.state.is_final and state in _UNFINISHED:
                self.steps[key] = StepState.CANCELLED
            elif state is StepState.RUNNING or (is_retried and state is not StepState.SUCCEEDED):
                self.steps[key] = StepState.PENDING


class ExpectedState:
    """The expected state of all jobs, and the claims that workers received."""

    def __init__(self) -> None:
        self.entries: dict[UUID, ExpectedJob] = {}
        self.claims: list[Claim] = []
        self.turn = 0

    def next_turn(self) -> int:
        self.turn += 1
        return self.turn

    def job(self, job_id: UUID) -> ModelJob:
        return self.entries[job_id].job

    def jobs(self, predicate: Callable[[ModelJob], bool]) -> dict[UUID, ModelJob]:
        return {job_id: entry.job for job_id, entry in self.entries.items() if predicate(entry.job)}

    def apply(self, job_id: UUID, outcome: Outcome) -> None:
        self.entries[job_id].apply(outcome, self.next_turn())

    def pick(self, nth: int) -> UUID:
        """Pick a job; jobs that have not ended come first."""
        jobs = sorted(self.entries, key=lambda job_id: self.job(job_id).state.is_final)
        return jobs[nth % len(jobs)]

    def pick_attempt(self, nth: int) -> Claim:
        """Pick an attempt; attempts that hold their jobs come first, then zombies."""

        def is_zombie(claim: Claim) -> bool:
            job = self.job(claim.job_id)
            return job.state is not JobState.RUNNING or job.fence != claim.fence

        attempts = sorted(self.claims, key=is_zombie)
        return attempts[nth % len(attempts)]


def is_legal_history(history: Iterable[str]) -> bool:
    """Return whether a history is legal: only a retry follows an end, and no cancel is ignored."""
    return _LEGAL_HISTORY.fullmatch("".join(_LETTERS.get(kind, "") for kind in history)) is not None
