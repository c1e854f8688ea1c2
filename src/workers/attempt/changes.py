"""What an attempt has written of its step runs: an event and a row each."""

from datetime import timedelta

import msgspec

from headrace.domain.events.types import JobError, JobEvent, StepFailed, StepStarted, StepSucceeded, write
from headrace.domain.jobs.attempts.changes import Change, StepChange
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.states import StepState
from headrace.workers.attempt.plan import StepPlan


class ChangeBuilder:
    """Makes the changes of one attempt."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def empty(self) -> Change:
        claim = self._claim
        return Change(job_id=claim.job_id, owner_id=claim.owner_id, fence=claim.fence)

    def row(self, run: StepPlan, state: StepState) -> StepChange:
        return StepChange(
            key=run.key,
            name=run.node.name,
            index=run.index,
            state=state,
            attempt=self._claim.attempt,
            tries=run.tries,
        )

    def started(self, run: StepPlan) -> Change:
        event = StepStarted(step=run.node.name, index=run.index, attempt=self._claim.attempt)
        change, row = self._of(run, StepState.RUNNING, event)
        row.started = True
        return change

    def succeeded(self, run: StepPlan, took_ms: int) -> Change:
        """*run* has its output."""
        event = StepSucceeded(
            step=run.node.name, index=run.index, attempt=self._claim.attempt, took_ms=took_ms
        )
        change, row = self._of(run, StepState.SUCCEEDED, event)
        row.output = run.output
        return change

    def failed(self, run: StepPlan, error: JobError, wait: timedelta | None) -> Change:
        """*wait* None: it was the last try."""
        event = StepFailed(
            step=run.node.name,
            index=run.index,
            attempt=self._claim.attempt,
            error=error,
            retry_at=None if wait is None else self._claim.now() + wait,
        )
        state = StepState.FAILED if wait is None else StepState.PENDING
        change, row = self._of(run, state, event)
        row.error = msgspec.json.encode(error).decode()
        row.retry_seconds = None if wait is None else wait.total_seconds()
        return change

    def items(self, name: str, items: str) -> Change:
        """The items of a `for_each` step, a JSON array: computed once."""
        change = self.empty()
        change.steps[name] = StepChange(
            key=name,
            name=name,
            index=None,
            state=StepState.SUCCEEDED,
            attempt=self._claim.attempt,
            items=items,
        )
        return change

    def _of(self, run: StepPlan, state: StepState, event: JobEvent) -> tuple[Change, StepChange]:
        change = self.empty()
        change.events.append(write(event))
        row = change.steps[run.key] = self.row(run, state)
        return change, row
