"""The order in which jobs are claimed, and the jobs that are not claimed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.domain.accounts.reach import Reach
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.states import JobState
from support.lease_driver import OWNER, change, in_transaction, job_queue, job_spec, submit

MINUTE = timedelta(minutes=1)


class Waiting(Struct):
    """A job that is due for *age*. A delayed one was submitted an hour before that."""

    age: timedelta
    priority: int
    is_delayed: bool = False
    needs_process: bool = False
    queue: str = "default"
    version: int = 1


async def let_wait(database: StatementPool, *jobs: Waiting) -> list[UUID]:
    """Submit the jobs and set back their times; return their ids."""
    ids = await submit(
        database, *(job_spec(priority=job.priority, queue=job.queue, version=job.version) for job in jobs)
    )
    await database.fetch(
        "UPDATE jobs SET run_at = run_at - w.age, due_order = due_order - w.age,"
        " created_at = created_at - w.age - CASE WHEN w.is_delayed THEN interval '1 hour' ELSE '0' END,"
        " needs_process = w.needs_process"
        " FROM unnest($1::uuid[], $2::interval[], $3::bool[], $4::bool[])"
        " AS w(id, age, is_delayed, needs_process) WHERE jobs.id = w.id",
        ids,
        [job.age for job in jobs],
        [job.is_delayed for job in jobs],
        [job.needs_process for job in jobs],
    )
    return ids


async def claimed(worker: JobQueue, limit: int = 10) -> list[UUID]:
    return [claim.job_id for claim in await worker.claim(limit)]


@pytest.mark.parametrize("is_delayed", [False, True])
@pytest.mark.parametrize(
    ("age", "goes_first"), [(10 * MINUTE, "old"), (9.1 * MINUTE, "old"), (8.9 * MINUTE, "new")]
)
async def test_each_priority_level_is_worth_one_minute_of_waiting(
    database: StatementPool, engine: AsyncEngine, age: timedelta, goes_first: str, is_delayed: bool
) -> None:
    old, new = await let_wait(
        database, Waiting(age, 0, is_delayed=is_delayed), Waiting(timedelta(0), 9, is_delayed=is_delayed)
    )

    first = await claimed(job_queue(database), 1)

    assert first == [{"old": old, "new": new}[goes_first]]


async def test_many_urgent_jobs_do_not_starve_an_old_job(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (old,) = await let_wait(database, Waiting(9.1 * MINUTE, 0))
    await let_wait(database, *(Waiting(timedelta(0), 9) for _ in range(50)))

    assert (await claimed(job_queue(database), 5))[0] == old


@pytest.mark.parametrize("limit", [1, 4, 10])
async def test_jobs_of_all_kinds_are_claimed_in_due_order(
    database: StatementPool, engine: AsyncEngine, limit: int
) -> None:
    await add_version(database, 2)
    waiting = [
        Waiting(
            timedelta(seconds=37 * place % 600 + 1),
            priority=place * 7 % 10,
            is_delayed=place % 3 == 0,
            needs_process=place % 5 == 0,
            queue=f"q{place % 2}",
            version=1 + place % 7 % 2,
        )
        for place in range(60)
    ]
    ids = await let_wait(database, *waiting)
    ranks = {job_id: -job.age - job.priority * MINUTE for job_id, job in zip(ids, waiting, strict=True)}
    worker = job_queue(database, queues=("q0", "q1"), pipelines=("noop@1", "noop@2"))

    order_of_claims = [job_id for _ in range(60 // limit) for job_id in await claimed(worker, limit)]

    assert [ranks[job_id] for job_id in order_of_claims] == sorted(ranks.values())


async def test_a_run_at_before_the_submission_gives_no_advantage(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (first,) = await submit(database, job_spec(priority=0))
    (backdated,) = await submit(database, job_spec(priority=0, run_at=datetime(2000, 1, 1, tzinfo=UTC)))
    (urgent,) = await submit(database, job_spec(priority=9))

    assert await claimed(job_queue(database)) == [urgent, first, backdated]


@pytest.mark.parametrize("delay", [0.0, 600.0])
async def test_a_job_that_goes_back_to_the_queue_keeps_the_rule_of_the_claim_order(
    database: StatementPool, engine: AsyncEngine, delay: float
) -> None:
    """The clock was put back since the submission, so `run_at` is before it."""
    await submit(database, job_spec())
    worker = job_queue(database)
    (claim,) = await worker.claim(1)
    await database.fetch(
        "UPDATE jobs SET created_at = created_at + interval '1 hour', due_order = due_order + interval '1 h'"
    )

    await worker.write([change(claim, 1, target=JobState.QUEUED, delay=delay)])
    await expect_due_order(database)
    await database.fetch("UPDATE jobs SET state = 'failed', finished_at = now()")
    await in_transaction(engine, lambda jobs: jobs.retry(claim.job_id, Reach(OWNER)))
    await expect_due_order(database)


async def expect_due_order(database: StatementPool) -> None:
    (row,) = await database.fetch("SELECT state, due_order, created_at, run_at, priority FROM jobs")
    assert row["state"] == "queued"
    assert row["run_at"] < row["created_at"]
    assert row["due_order"] == row["created_at"] - row["priority"] * MINUTE


@pytest.mark.parametrize("priority", [0, 9])
async def test_a_job_is_not_claimed_before_its_run_at(
    database: StatementPool, engine: AsyncEngine, priority: int
) -> None:
    (later,) = await submit(database, job_spec(priority=priority, run_at=datetime.now(UTC) + MINUTE))
    worker = job_queue(database)

    before = await claimed(worker)
    await database.fetch(
        "UPDATE jobs SET run_at = run_at - $1::interval, due_order = due_order - $1::interval,"
        " created_at = created_at - $1::interval",
        1.1 * MINUTE,
    )

    assert (before, await claimed(worker)) == ([], [later])


async def test_a_worker_claims_only_its_pipelines_from_its_queues(
    database: StatementPool, engine: AsyncEngine
) -> None:
    here, _ = await submit(database, job_spec(queue="here"), job_spec(queue="there"))

    assert await claimed(job_queue(database, queues=("here",), pipelines=("noop@2", "other@1"))) == []
    assert await claimed(job_queue(database, queues=("here", "empty"), pipelines=("noop@1",))) == [here]


async def test_a_queue_that_is_named_twice_is_claimed_as_one(
    database: StatementPool, engine: AsyncEngine
) -> None:
    ids = await submit(database, *[job_spec()] * 6)

    assert await claimed(job_queue(database, queues=("default", "default")), limit=6) == ids


@pytest.mark.parametrize("queues", [("a",), ("a", "b")])
async def test_a_claim_takes_no_more_jobs_with_process_steps_than_allowed(
    database: StatementPool, engine: AsyncEngine, queues: Sequence[str]
) -> None:
    waiting = [
        Waiting((20 - place) * MINUTE, 5, needs_process=place < 12, queue=queues[place % len(queues)])
        for place in range(20)
    ]
    ids = await let_wait(database, *waiting)

    claims = await job_queue(database, queues=queues).claim(10, process_limit=3)

    assert [claim.job_id for claim in claims] == ids[:3] + ids[12:19]


async def add_version(database: StatementPool, version: int) -> None:
    await database.fetch(
        "INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)"
        " SELECT gen_random_uuid(), name, $1, description, graph, params_schema, now(), now() FROM pipelines"
        " WHERE version = 1",
        version,
    )
