"""What ought to stand in the database by the model, and who might do what next. Pure."""

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
# Rounds that end in the queue again, and then at most one that goes on or has ended for good.
_LAWFUL: Final = re.compile(r"q(sl?r|sl?ft|ft)*(sc?|sd|sl?f|sc?x|sclx|f|x)?")


class Entry(Struct):
    """One job. *turn* counts what was queued: of one priority, who was queued first goes first."""

    priority: int
    turn: int
    job: ModelJob
    told: list[str] = field(default_factory=lambda: ["job.queued"])
    steps: dict[str, StepState] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[int, int]:
        return -self.priority, self.turn

    def take(self, outcome: Outcome, turn: int, rows: Iterable[StepChange] = ()) -> None:
        """Enter what happened; *rows* come with a change of an attempt."""
        self.job = outcome.job
        self.told += outcome.told
        if "job.requeued" in outcome.told or "job.retried" in outcome.told:
            self.turn = turn
        for row in rows:
            if self.steps.get(row.key) is not StepState.SUCCEEDED:
                self.steps[row.key] = row.state
        if self.job.state is not JobState.RUNNING:
            self._settle(is_retried="job.retried" in outcome.told)

    @property
    def unfinished(self) -> dict[str, StepState]:
        return {key: state for key, state in self.steps.items() if state in _UNFINISHED}

    def _settle(self, *, is_retried: bool) -> None:
        """No step runs in a job that does not; none is unfinished in one that has ended."""
        for key, state in self.steps.items():
            if self.job.state.is_final and state in _UNFINISHED:
                self.steps[key] = StepState.CANCELLED
            elif state is StepState.RUNNING or (is_retried and state is not StepState.SUCCEEDED):
                self.steps[key] = StepState.PENDING


class Book:
    """All jobs, and the attempts that workers were told of."""

    def __init__(self) -> None:
        self.entries: dict[UUID, Entry] = {}
        self.claims: list[Claim] = []
        self.turn = 0

    def next_turn(self) -> int:
        self.turn += 1
        return self.turn

    def job(self, job_id: UUID) -> ModelJob:
        return self.entries[job_id].job

    def jobs(self, wanted: Callable[[ModelJob], bool]) -> dict[UUID, ModelJob]:
        return {job_id: entry.job for job_id, entry in self.entries.items() if wanted(entry.job)}

    def take(self, job_id: UUID, outcome: Outcome) -> None:
        self.entries[job_id].take(outcome, self.next_turn())

    def pick(self, nth: int) -> UUID:
        """One of the jobs: those that have not ended come first."""
        jobs = sorted(self.entries, key=lambda job_id: self.job(job_id).state.is_final)
        return jobs[nth % len(jobs)]

    def pick_attempt(self, nth: int) -> Claim:
        """One of the attempts: those that hold their jobs come first, then zombies."""

        def is_zombie(claim: Claim) -> bool:
            job = self.job(claim.job_id)
            return job.state is not JobState.RUNNING or job.fence != claim.fence

        attempts = sorted(self.claims, key=is_zombie)
        return attempts[nth % len(attempts)]


def is_lawful(told: Iterable[str]) -> bool:
    """Whether a history keeps the promises: nothing follows an end but a retry, and a cancel is obeyed."""
    return _LAWFUL.fullmatch("".join(_LETTERS.get(kind, "") for kind in told)) is not None
