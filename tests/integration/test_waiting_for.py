"""`waiting_for` names the reason why a queued job waits."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.domain.accounts.reach import Reach
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.states import JobState
from support.lease_driver import OWNER, change, in_transaction, job_queue, job_spec, submit

MINUTE = timedelta(minutes=1)


async def why(engine: AsyncEngine, job_id: UUID) -> str | None:
    """Return the job's `waiting_for`."""
    job = await in_transaction(engine, lambda jobs: jobs.get(job_id, Reach(OWNER)))
    return (await in_transaction(engine, lambda jobs: jobs.why_waiting([job]))).get(job_id)


async def serve(
    database: StatementPool, queues: Sequence[str] = ("default",), pipelines: Sequence[str] = ("noop@1",)
) -> JobQueue:
    """Return a worker that has sent a heartbeat."""
    worker = job_queue(database, "w", queues=queues, pipelines=pipelines)
    await worker.renew([])
    return worker


async def fill(database: StatementPool, jobs: int) -> None:
    """Let the workers be full when they run *jobs* jobs."""
    await database.fetch("UPDATE workers SET concurrency = $1", jobs)


async def test_a_delayed_job_reports_run_at(database: StatementPool, engine: AsyncEngine) -> None:
    (job_id,) = await submit(database, job_spec(run_at=datetime.now(UTC) + MINUTE))
    await serve(database)

    assert await why(engine, job_id) == "run_at"


async def test_a_job_that_waits_for_its_next_attempt_reports_backoff(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (job_id,) = await submit(database, job_spec())
    worker = await serve(database)
    (claim,) = await worker.claim(1)
    await worker.write([change(claim, 1, target=JobState.QUEUED, delay=60)])

    assert await why(engine, job_id) == "backoff"


@pytest.mark.parametrize(("losses", "reason"), [(0, "worker_busy"), (1, "worker_busy"), (2, "quarantined")])
async def test_a_due_job_reports_whether_it_waits_for_a_worker_or_for_a_process_of_its_own(
    database: StatementPool, engine: AsyncEngine, losses: int, reason: str
) -> None:
    (job_id,) = await submit(database, job_spec())
    await database.fetch("UPDATE jobs SET losses = $1", losses)
    await serve(database)
    with_room = await why(engine, job_id)
    await fill(database, 0)

    assert await why(engine, job_id) == reason
    assert with_room == (None if reason == "worker_busy" else reason)


async def test_a_due_job_waits_for_nothing_until_its_worker_is_full(
    database: StatementPool, engine: AsyncEngine
) -> None:
    await submit(database, job_spec())
    worker = await serve(database)
    (claim,) = await worker.claim(1)
    (job_id,) = await submit(database, job_spec())
    await fill(database, 2)
    with_room = await why(engine, job_id)
    await fill(database, 1)
    full = await why(engine, job_id)
    await worker.write([change(claim, 1, target=JobState.SUCCEEDED)])

    assert (with_room, full, await why(engine, job_id)) == (None, "worker_busy", None)


async def test_a_handed_back_job_reports_worker_busy_and_not_backoff(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (job_id,) = await submit(database, job_spec())
    worker = await serve(database)
    (claim,) = await worker.claim(1)
    await worker.release([(job_id, claim.fence)])
    await fill(database, 0)

    assert await why(engine, job_id) == "worker_busy"


@pytest.mark.parametrize(
    ("queues", "pipelines"), [(["other"], ["noop@1"]), (["default"], ["noop@2"]), (["default"], [])]
)
async def test_a_job_that_no_worker_could_run_reports_no_worker(
    database: StatementPool, engine: AsyncEngine, queues: list[str], pipelines: list[str]
) -> None:
    (job_id,) = await submit(database, job_spec())
    alone = await why(engine, job_id)
    await serve(database, queues, pipelines)

    assert (alone, await why(engine, job_id)) == ("no_worker", "no_worker")


async def test_deregistered_and_silent_workers_do_not_count(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (job_id,) = await submit(database, job_spec())
    worker = await serve(database)
    await worker.deregister()
    left = await why(engine, job_id)
    await worker.renew([])
    await fill(database, 0)
    back = await why(engine, job_id)
    await database.fetch("UPDATE workers SET last_seen_at = last_seen_at - interval '21 seconds'")

    assert (left, back, await why(engine, job_id)) == ("no_worker", "worker_busy", "no_worker")


async def test_only_a_queued_job_has_a_waiting_reason(database: StatementPool, engine: AsyncEngine) -> None:
    (job_id,) = await submit(database, job_spec())
    worker = await serve(database)
    (claim,) = await worker.claim(1)
    running = await why(engine, job_id)
    await worker.write([change(claim, 1, target=JobState.SUCCEEDED)])

    assert (running, await why(engine, job_id)) == (None, None)
