"""The state space of a job with two workers, a sweep and a user: all next steps, and the broken rules. Pure.

Responses get lost, leases expire, and a worker continues an attempt that it no longer holds.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import support.lease_model as model
from headrace.domain.jobs.claim_rules import MAX_LOSSES
from headrace.domain.jobs.states import IllegalTransitionError, JobState, move
from support.lease_model import ModelJob, Outcome, Rules, Verdict

WORKERS: Final = ("a", "b")

ENDS: Final[dict[str, JobState | None]] = {
    "checkpoint": None,
    "finish": JobState.SUCCEEDED,
    "fail": JobState.FAILED,
    "requeue": JobState.QUEUED,
}
EVENTS: Final = {
    "checkpoint": ("step.succeeded",),
    "finish": ("step.succeeded", "job.succeeded"),
    "fail": ("job.failed",),
    "requeue": ("job.requeued",),
}


class Attempt(NamedTuple):
    """An attempt that a worker believes it holds: its fence, last change number and unanswered change."""

    worker: str
    fence: int
    numbered: int = 0
    unanswered: str | None = None


class World(NamedTuple):
    """The state of the world. *written*: the (fence, write_no) of every change that was applied."""

    job: ModelJob
    believed: frozenset[Attempt] = frozenset()
    written: frozenset[tuple[int, int]] = frozenset()


class Step(NamedTuple):
    """A step of the world. *writer* and *write_no* are set for a change of an attempt."""

    action: str
    world: World
    events: tuple[str, ...] = ()
    writer: Attempt | None = None
    write_no: int = 0
    verdict: Verdict = "now"


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Yield all steps that are possible next."""
    yield from _user_and_time_steps(world)
    for worker in WORKERS:
        yield from _worker_steps(world, worker)
    for attempt in world.believed:
        kinds = [attempt.unanswered] if attempt.unanswered else ENDS
        for kind in kinds:
            yield from _change_steps(world, attempt, kind, rules)


def violation(before: World, step: Step) -> str | None:  # noqa: PLR0911, PLR0912, C901  (one line for each rule)
    """Return the rule that *step* breaks, if any."""
    job, after, events = before.job, step.world.job, step.events
    try:
        is_legal = job.state is after.state or move(job.state, after.state) is after.state
    except IllegalTransitionError:
        is_legal = False
    if not is_legal:
        return "an illegal transition"
    if job.state.is_final and (job != after or events) and events != ("job.retried",):
        return "a final state changed"
    if after.state.is_final and job.state is not after.state and events[-1:] != (f"job.{after.state}",):
        return "an end that the history does not tell"
    if job != after and not events and after.state is not job.state:
        return "a transition without an event"
    if step.writer is not None:
        number = (step.writer.fence, step.write_no)
        if events and (step.writer.worker, step.writer.fence) != (job.holder, job.fence):
            return "somebody wrote who does not hold the lease"
        if events and number in before.written:
            return "a change was written twice"
        is_written = number in step.world.written
        if step.verdict != "lost" and not is_written:
            return "a change was lost and called written"
        # Under a newer fence the service cannot know it, and it does not matter: the attempt is over.
        if step.verdict == "lost" and is_written and step.writer.fence == job.fence:
            return "a change was written and called lost"
    if after.is_cancel_requested and after.state not in {JobState.RUNNING, JobState.CANCELLED}:
        return "a cancel was forgotten"
    if (after.fence - job.fence, after.attempt - job.attempt) != (events == ("job.started",),) * 2:
        return "a claim without a fence of its own"
    if (after.state is JobState.RUNNING) != (after.holder is not None) or after.losses > MAX_LOSSES:
        return "a lease without a holder, or too many losses"
    return None


def _user_and_time_steps(world: World) -> Iterator[Step]:
    job = world.job
    for action, outcome in (("cancel", model.cancel(job)), ("retry", model.retry(job))):
        if outcome is not None:
            yield _step(action, world, outcome)
    if job.state is JobState.RUNNING and not job.is_expired:
        yield Step("lease runs out", world._replace(job=job._replace(is_expired=True)))
    if job.state is JobState.QUEUED and not job.is_due:
        yield Step("comes due", world._replace(job=job._replace(is_due=True)))
    if job.is_expired:
        yield _step("sweep", world, model.take_back(job))


def _worker_steps(world: World, worker: str) -> Iterator[Step]:
    job = world.job
    if model.can_be_claimed(job):
        claimed = model.claim(job, worker)
        attempt = Attempt(worker, claimed.job.fence)
        yield _step(f"{worker} claims, answer lost", world, claimed)
        yield _step(f"{worker} claims", world._replace(believed=world.believed | {attempt}), claimed)
    if job.holder == worker:
        for is_blamed in (False, True):
            action = f"{worker} dies, blamed" if is_blamed else f"{worker} dies"
            yield _step(action, world, model.die(job, worker, is_blamed=is_blamed))
        yield Step(f"{worker} renews", world._replace(job=model.renew(job, worker)))
        if not any((attempt.worker, attempt.fence) == (worker, job.fence) for attempt in world.believed):
            yield _step(f"{worker} hands back", world, model.hand_back(job, worker, job.fence))


def _change_steps(world: World, attempt: Attempt, kind: str, rules: Rules) -> Iterator[Step]:
    """Yield the steps in which *attempt* sends a change of that kind, or repeats its unanswered one."""
    write_no = attempt.numbered + (attempt.unanswered is None)
    outcome = model.write(
        world.job, attempt.fence, write_no, EVENTS[kind], ENDS[kind], delayed=True, rules=rules
    )
    written = world.written | {(attempt.fence, write_no)} if outcome.verdict == "now" else world.written
    others = world.believed - {attempt}
    is_over = outcome.verdict == "lost" or ENDS[kind] is not None
    answered = others if is_over else others | {attempt._replace(numbered=write_no, unanswered=None)}
    unanswered = others | {attempt._replace(numbered=write_no, unanswered=kind)}
    for action, believed in ((kind, answered), (f"{kind}, answer lost", unanswered)):
        yield Step(
            f"{attempt.worker}:{attempt.fence} {action}",
            World(outcome.job, believed, written),
            outcome.events,
            attempt,
            write_no,
            outcome.verdict,
        )


def _step(action: str, world: World, outcome: Outcome) -> Step:
    return Step(action, world._replace(job=outcome.job), outcome.events)
