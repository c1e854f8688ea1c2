"""A requested cancel overrules every other outcome of the attempt, and leaves no step waiting."""

from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.domain.accounts.reach import Reach
from headrace.domain.events.types import StepFailed
from headrace.domain.jobs.attempts.changes import StepChange
from headrace.domain.jobs.states import JobState, StepState
from support.lease_driver import BROKEN, OWNER, change, in_transaction, job_queue, job_spec, submit


async def test_releasing_a_job_with_a_requested_cancel_cancels_it(
    database: StatementPool, engine: AsyncEngine
) -> None:
    worker = job_queue(database)
    await submit(database, job_spec())
    (claim,) = await worker.claim(1)
    await in_transaction(engine, lambda jobs: jobs.cancel(claim.job_id, Reach(OWNER)))

    await worker.release([(claim.job_id, claim.fence)])

    job = await in_transaction(engine, lambda jobs: jobs.get(claim.job_id, Reach(OWNER)))
    assert (job.state, job.event_seq) == (JobState.CANCELLED, 4)


async def test_a_cancelled_job_has_no_step_waiting_for_a_retry(
    database: StatementPool, engine: AsyncEngine
) -> None:
    worker = job_queue(database)
    await submit(database, job_spec())
    (claim,) = await worker.claim(1)
    failed = change(claim, 1, StepFailed(step="s", attempt=1, error=BROKEN))
    failed.steps["s"] = StepChange(key="s", index=None, state=StepState.PENDING, tries=1, retry_seconds=60)
    await worker.write([failed])
    await in_transaction(engine, lambda jobs: jobs.cancel(claim.job_id, Reach(OWNER)))

    await worker.write([change(claim, 2, target=JobState.QUEUED, delay=60)])

    (step,) = await database.fetch("SELECT state, retry_at, finished_at FROM step_runs")
    assert (step["state"], step["retry_at"]) == ("cancelled", None)
    assert step["finished_at"] is not None
