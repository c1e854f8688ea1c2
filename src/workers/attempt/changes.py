"""Builds the changes that an attempt writes for its step runs: an event and a row each."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobError, JobEvent, StepFailed, StepStarted, StepSucceeded
from headrace.domain.jobs.attempts.changes import Change, StepChange
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.states import StepState
from headrace.workers.attempt.plan import StepPlan


class ChangeBuilder:
    """Builds the changes of one attempt; each carries the attempt's job and fence."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def empty(self) -> Change:
        claim = self._claim
        return Change(job_id=claim.job_id, owner_id=claim.owner_id, fence=claim.fence)

    def row(self, run: StepPlan, state: StepState) -> StepChange:
        """Return the row of *run* in *state*."""
        return StepChange(
            key=run.key,
            index=run.index,
            state=state,
            tries=run.tries,
        )

    def started(self, run: StepPlan) -> Change:
        event = StepStarted(step=run.node.name, index=run.index, attempt=self._claim.attempt)
        change, row = self._with_event(run, StepState.RUNNING, event)
        row.started = True
        return change

    def succeeded(self, run: StepPlan, took_ms: int) -> Change:
        """Store the output of *run*, which took *took_ms*."""
        event = StepSucceeded(
            step=run.node.name, index=run.index, attempt=self._claim.attempt, took_ms=took_ms
        )
        change, row = self._with_event(run, StepState.SUCCEEDED, event)
        row.output = run.output
        return change

    def failed(self, run: StepPlan, error: JobError, delay: timedelta | None) -> Change:
        """Store a failed try and the *delay* before the next one; None: it was the last try."""
        event = StepFailed(
            step=run.node.name,
            index=run.index,
            attempt=self._claim.attempt,
            error=error,
            retry_at=None if delay is None else self._claim.now() + delay,
        )
        state = StepState.FAILED if delay is None else StepState.PENDING
        change, row = self._with_event(run, state, event)
        row.error = msgspec.json.encode(error).decode()
        row.retry_seconds = None if delay is None else delay.total_seconds()
        return change

    def items(self, name: str, items: Sequence[str]) -> Change:
        """Store the items of the `for_each` step *name*, each as JSON, so that they are computed once."""
        change = self.empty()
        change.steps[name] = StepChange(
            key=name,
            index=None,
            state=StepState.SUCCEEDED,
            items=f"[{','.join(items)}]",
        )
        return change

    def _with_event(self, run: StepPlan, state: StepState, event: JobEvent) -> tuple[Change, StepChange]:
        change = self.empty()
        change.events.append(encode_event(event))
        row = change.steps[run.key] = self.row(run, state)
        return change, row
