"""The order in which jobs are claimed, and the jobs that are not claimed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.submission.submission import JobSpec
from support.lease_driver import job_queue, job_spec, submit

MINUTE = timedelta(minutes=1)


async def claimed(worker: JobQueue, limit: int = 10) -> list[UUID]:
    return [claim.job_id for claim in await worker.claim(limit)]


def submitted(age: timedelta, priority: int) -> JobSpec:
    """Return the spec of a job that was due *age* ago."""
    return job_spec(priority=priority, run_at=datetime.now(UTC) - age)


@pytest.mark.parametrize(
    ("age", "goes_first"), [(10 * MINUTE, "old"), (9.1 * MINUTE, "old"), (8.9 * MINUTE, "new")]
)
async def test_each_priority_level_is_worth_one_minute_of_waiting(
    database: StatementPool, engine: AsyncEngine, age: timedelta, goes_first: str
) -> None:
    old, new = await submit(database, submitted(age, priority=0), submitted(timedelta(0), priority=9))

    first = await claimed(job_queue(database), 1)

    assert first == [{"old": old, "new": new}[goes_first]]


async def test_many_urgent_jobs_do_not_starve_an_old_job(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (old,) = await submit(database, submitted(9.1 * MINUTE, priority=0))
    await submit(database, *(submitted(timedelta(0), priority=9) for _ in range(50)))

    assert (await claimed(job_queue(database), 5))[0] == old


async def test_jobs_of_all_ages_and_priorities_are_claimed_in_due_order(
    database: StatementPool, engine: AsyncEngine
) -> None:
    waiting = [
        (timedelta(seconds=37 * place % 600 + 1), place * 7 % 10, f"q{place % 2}") for place in range(60)
    ]
    now = datetime.now(UTC)
    ids = await submit(
        database,
        *(job_spec(priority=priority, run_at=now - age, queue=queue) for age, priority, queue in waiting),
    )
    dues = {
        job_id: now - age - priority * MINUTE for job_id, (age, priority, _) in zip(ids, waiting, strict=True)
    }
    worker = job_queue(database, queues=("q0", "q1"))

    order_of_claims = [job_id for _ in range(6) for job_id in await claimed(worker, 10)]

    assert [dues[job_id] for job_id in order_of_claims] == sorted(dues.values())


@pytest.mark.parametrize("priority", [0, 9])
async def test_a_job_is_not_claimed_before_its_run_at(
    database: StatementPool, engine: AsyncEngine, priority: int
) -> None:
    (later,) = await submit(database, job_spec(priority=priority, run_at=datetime.now(UTC) + MINUTE))
    worker = job_queue(database)

    before = await claimed(worker)
    await database.fetch(
        "UPDATE jobs SET run_at = run_at - $1::interval, due_order = due_order - $1::interval", 1.1 * MINUTE
    )

    assert (before, await claimed(worker)) == ([], [later])


async def test_a_worker_claims_only_its_pipelines_from_its_queues(
    database: StatementPool, engine: AsyncEngine
) -> None:
    here, _ = await submit(database, job_spec(queue="here"), job_spec(queue="there"))

    assert await claimed(job_queue(database, queues=("here",), pipelines=("noop@2", "other@1"))) == []
    assert await claimed(job_queue(database, queues=("here", "empty"), pipelines=("noop@1",))) == [here]
