"""Attempts that end from outside: whom a loss counts for, and what a job keeps."""

import time

import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobError, JobEvent, LogWritten, StepStarted, StepSucceeded
from headrace.domain.jobs.attempts.changes import JobMove, StepChange
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.states import JobState, StepState
from support.attempts import SUCCESS, change, history, lose, queue_job, queue_of, row
from support.lease_driver import sweep


async def test_the_fifth_loss_fails_the_job_that_is_to_blame_and_the_first_loss_ends_a_cancelled_job(
    ready: StatementPool,
) -> None:
    poison, unwanted, neighbour = await queue_job(ready), await queue_job(ready), await queue_job(ready)
    worker, successor = queue_of(ready), queue_of(ready, "successor")
    for loss in range(5):
        claims = await worker.claim(10) + await worker.claim(10, suspects=True)
        fences = {claim.job_id: claim.fence for claim in claims}
        assert poison in fences, loss
        if loss == 0:
            await ready.fetch("UPDATE jobs SET cancel_requested_at = now() WHERE id = $1", unwanted)
        await successor.rescue_from(worker.worker.id, (poison, fences[poison]))

    assert (await row(ready, poison))["state"] == "failed"
    assert (await row(ready, poison))["losses"] == 5
    kept = await row(ready, neighbour)
    assert (kept["state"], kept["losses"], kept["attempt"]) == ("queued", 0, 5)
    kinds = [kind for _, kind in await history(ready, poison)]
    assert kinds.count("attempt.lost") == 5
    assert kinds[-1] == "job.failed"
    assert [kind for _, kind in await history(ready, unwanted)] == [
        "job.started",
        "attempt.lost",
        "job.cancelled",
    ]


async def test_a_lease_that_runs_out_blames_nobody_until_the_tenth_time_in_a_row(
    ready: StatementPool,
) -> None:
    job_id = await queue_job(ready)
    worker = queue_of(ready)
    losses = []
    for _ in range(14):
        (claim,) = await worker.claim(1) or await worker.claim(1, suspects=True)
        await lose(ready, claim)
        await sweep(worker)
        losses.append((await row(ready, job_id))["losses"])

    assert losses == [0] * 9 + [1, 2, 3, 4, 5]
    assert (await row(ready, job_id))["state"] == "failed"


async def test_a_loss_after_progress_is_the_first_one_again(ready: StatementPool) -> None:
    job_id = await queue_job(ready)
    worker, successor = queue_of(ready), queue_of(ready, "successor")
    losses = []
    for number in range(7):
        (claim,) = await worker.claim(1) or await worker.claim(1, suspects=True)
        if number in (2, 3, 6):
            succeeded = change(claim, 1)
            succeeded.events.append(
                encode_event(StepSucceeded(step=f"step-{number}", attempt=claim.attempt, took_ms=1))
            )
            await worker.write([succeeded])
        await successor.rescue_from(worker.worker.id, (job_id, claim.fence))
        losses.append((await row(ready, job_id))["losses"])

    assert losses == [1, 2, 1, 1, 2, 3, 1]


async def test_the_jobs_of_a_dead_worker_are_rescued_at_once_and_those_of_others_are_left(
    ready: StatementPool,
) -> None:
    await queue_job(ready)
    await queue_job(ready)
    worker, other, successor = queue_of(ready), queue_of(ready, "other"), queue_of(ready, "successor")
    (lost,) = await worker.claim(1)
    (kept,) = await other.claim(1)

    news = await successor.rescue_from(worker.worker.id, None)

    assert [(job_news.job_id, job_news.state) for job_news in news] == [(lost.job_id, "queued")]
    assert (await row(ready, kept.job_id))["state"] == "running"
    assert await successor.rescue_from(worker.worker.id, None) == []


async def test_a_write_of_the_holder_renews_its_lease_and_the_last_one_ends_it(ready: StatementPool) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    await lose(ready, claim)

    await worker.write([change(claim, 1)])
    swept = await sweep(queue_of(ready, "other"))
    await worker.write([change(claim, 2, SUCCESS)])

    assert swept == []
    ended = await row(ready, claim.job_id)
    assert (ended["state"], ended["lease_expires_at"]) == ("succeeded", None)


async def test_the_time_of_a_job_runs_while_its_attempts_run_and_not_while_it_waits(
    ready: StatementPool,
) -> None:
    await queue_job(ready)
    await ready.fetch("UPDATE jobs SET timeout_seconds = 100")
    worker, successor = queue_of(ready), queue_of(ready, "successor")

    async def run_for(seconds: int) -> Claim:
        """Claim the job, and let it have begun that long ago."""
        (claim,) = await worker.claim(1)
        await ready.fetch(
            "UPDATE job_changes SET at = at - $1 * interval '1 second' WHERE type = 'job.started'"
            " AND seq = (SELECT max(seq) FROM job_events WHERE type = 'job.started')",
            float(seconds),
        )
        return claim

    left = []
    claim = await run_for(30)
    left.append(claim.seconds_left)
    # For ten seconds of them it only waited for a slot.
    move = JobMove(target=JobState.QUEUED, delay_seconds=1000, waited_seconds=10)
    await worker.write([change(claim, 1, move)])
    # It waits for a long time, as far as the clock is concerned.
    await ready.fetch(
        "UPDATE jobs SET run_at = now() - interval '1 day', created_at = now() - interval '2 days',"
        " due_order = now() - interval '1 day' - priority * interval '60 s',"
        " started_at = now() - interval '2 days'"
    )
    claim = await run_for(20)
    left.append(claim.seconds_left)
    await successor.rescue_from(worker.worker.id, None)
    claim = await run_for(45)
    left.append(claim.seconds_left)
    await worker.release([claim.lease])
    kept = await worker.fail_timed_out()
    claim = await run_for(20)
    left.append(claim.seconds_left)
    await worker.release([claim.lease])
    (late,) = await worker.fail_timed_out()

    assert left == [pytest.approx(seconds, abs=5) for seconds in (100, 80, 60, 15)]
    assert (kept, late.state) == ([], "failed")


async def test_the_time_for_which_the_end_of_an_attempt_waits_to_be_stored_is_not_charged_to_the_job(
    ready: StatementPool,
) -> None:
    await queue_job(ready)
    await ready.fetch("UPDATE jobs SET timeout_seconds = 100")
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    await ready.fetch("UPDATE job_changes SET at = at - interval '2 hours' WHERE type = 'job.started'")

    # It ran for 30 of these seconds, and its end could not be stored since.
    move = JobMove(target=JobState.QUEUED, ended_at=time.monotonic() - 7170)
    await worker.write([change(claim, 1, move)])
    (claim,) = await worker.claim(1)

    assert claim.seconds_left == pytest.approx(70, abs=5)


async def test_an_outage_after_the_end_of_a_lease_is_not_charged_to_the_job(ready: StatementPool) -> None:
    await queue_job(ready)
    await ready.fetch("UPDATE jobs SET timeout_seconds = 100")
    worker = queue_of(ready)
    await worker.claim(1)
    await ready.fetch("UPDATE job_changes SET at = at - interval '2 hours' WHERE type = 'job.started'")
    await ready.fetch("UPDATE jobs SET lease_expires_at = now() - interval '2 hours' + interval '30 seconds'")

    await sweep(worker)
    (claim,) = await worker.claim(1)

    assert claim.seconds_left == pytest.approx(70, abs=5)


async def test_a_job_that_is_handed_back_released_or_lost_keeps_its_place_in_the_queue(
    ready: StatementPool,
) -> None:
    ids = [await queue_job(ready, due_in=-100 + number) for number in range(4)]
    worker, successor = queue_of(ready), queue_of(ready, "successor")
    handed_back, released, lost = await worker.claim(3)

    await worker.write([change(handed_back, 1, JobMove(target=JobState.QUEUED))])
    await worker.release([released.lease])
    await successor.rescue_from(worker.worker.id, lost.lease)

    assert [claim.job_id for claim in await worker.claim(4)] == ids


@pytest.mark.parametrize(("succeeded", "is_marked"), [([], True), (["first"], False)])
async def test_a_lost_job_that_has_passed_its_first_step_does_not_wait_for_a_process(
    ready: StatementPool, succeeded: list[str], is_marked: bool
) -> None:
    job_id = await queue_job(ready)
    await ready.fetch("UPDATE jobs SET needs_process = true")
    worker, successor = queue_of(ready), queue_of(ready, "successor")
    (claim,) = await worker.claim(1)
    written = change(claim, 1)
    written.events += [
        encode_event(StepSucceeded(step=step, attempt=claim.attempt, took_ms=1)) for step in succeeded
    ]
    await worker.write([written])

    await successor.rescue_from(worker.worker.id, None)

    assert (await row(ready, job_id))["needs_process"] is is_marked


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.RUNNING])
@pytest.mark.parametrize("target", [JobState.FAILED, JobState.CANCELLED])
async def test_a_job_that_ends_takes_the_steps_of_an_earlier_attempt_with_it(
    ready: StatementPool, state: StepState, target: JobState
) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (lost,) = await worker.claim(1)
    entered = change(lost, 1)
    entered.events.append(encode_event(StepStarted(step="a", attempt=1)))
    entered.steps["a"] = StepChange(key="a", index=None, state=state, started=True)
    await worker.write([entered])
    await lose(ready, lost)
    await sweep(worker)
    (claim,) = await worker.claim(1)

    error = JobError(code="x", message="m") if target is JobState.FAILED else None
    await worker.write([change(claim, 1, JobMove(target=target, error=error))])

    (step,) = await ready.fetch("SELECT state, finished_at FROM step_runs")
    assert (step["state"], step["finished_at"] is not None) == ("cancelled", True)


@pytest.mark.parametrize(
    ("earlier", "losses"),
    [
        (StepSucceeded(step="a", attempt=1, took_ms=1), 1),
        (LogWritten(level="info", message="done", fields={"like": ["step.succeeded", 1]}), 2),
        (LogWritten(level="info", message="a\0b", fields={"n": ["step.succeeded", "\0"]}), 2),
    ],
    ids=["progress", "a log line like progress", "a log line with NUL"],
)
async def test_progress_within_a_change_is_found_and_nothing_else_is_taken_for_it(
    ready: StatementPool, earlier: JobEvent, losses: int
) -> None:
    job_id = await queue_job(ready)
    worker, successor = queue_of(ready), queue_of(ready, "successor")
    seen = []
    for number in range(2):
        (claim,) = await worker.claim(1)
        if number == 1:
            written = change(claim, 1)
            written.events += map(encode_event, (earlier, LogWritten(level="info", message="and then")))
            await worker.write([written])
        await successor.rescue_from(worker.worker.id, (job_id, claim.fence))
        seen.append((await row(ready, job_id))["losses"])

    assert seen == [1, losses]
