"""Workers that claim at the same moment: each gets its share, and none locks jobs that it does not claim."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.attempts.claims import Claim
from support.attempts import queue_job
from support.lease_driver import job_queue

WORKERS = 8
SHARE = 5


@pytest.fixture
async def pool(ready: StatementPool, database_url: str) -> AsyncIterator[StatementPool]:
    """A connection for each worker."""
    opened = await StatementPool.open(database_url, size=WORKERS)
    yield opened
    await opened.close()


@pytest.fixture
async def transaction(ready: StatementPool, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose transaction stays open during the test."""
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        yield connection
    await connection.close()


async def queue_jobs(
    database: StatementPool, queue: str, count: int, *, age: float, needs_process: bool = False
) -> list[UUID]:
    """Queue jobs in due order, the first of which has been due for *age* seconds."""
    ids = [await queue_job(database, due_in=number / 10 - age, queue=queue) for number in range(count)]
    await database.fetch("UPDATE jobs SET needs_process = $2 WHERE id = ANY($1::uuid[])", ids, needs_process)
    return ids


def ids_of(claims: Sequence[Claim]) -> list[UUID]:
    return [claim.job_id for claim in claims]


@pytest.mark.parametrize("queues", [("a",), ("a", "b", "c", "d")])
async def test_workers_that_claim_at_once_get_as_many_jobs_as_they_want(
    ready: StatementPool, pool: StatementPool, queues: tuple[str, ...]
) -> None:
    workers = [job_queue(pool, f"w{number}", queues=queues) for number in range(WORKERS)]
    for _ in range(5):
        jobs = []
        for place, queue in enumerate(queues):
            jobs += await queue_jobs(ready, queue, WORKERS * SHARE // len(queues), age=100 * (place + 1))

        claims = await asyncio.gather(*(worker.claim(SHARE) for worker in workers))

        assert [len(share) for share in claims] == [SHARE] * WORKERS
        assert sorted(job_id for share in claims for job_id in ids_of(share)) == sorted(jobs)


@pytest.mark.parametrize("needs_process", [False, True])
async def test_a_claim_goes_on_behind_the_jobs_that_another_claim_has_locked(
    ready: StatementPool, transaction: asyncpg.Connection, needs_process: bool
) -> None:
    oldest = await queue_jobs(ready, "a", 5, age=300, needs_process=needs_process)
    next_ones = await queue_jobs(ready, "b", 10, age=200, needs_process=needs_process)
    await queue_jobs(ready, "c", 10, age=100, needs_process=needs_process)
    queues = ("c", "b", "a")

    first = await job_queue(transaction, "first", queues=queues).claim(8)
    second = await job_queue(ready, "second", queues=queues).claim(5)

    assert ids_of(first) == oldest + next_ones[:3]
    assert ids_of(second) == next_ones[3:8]


async def test_a_claim_locks_only_the_jobs_that_it_takes(
    ready: StatementPool, transaction: asyncpg.Connection
) -> None:
    for queue in ("a", "b", "c"):
        await queue_jobs(ready, queue, 20, age=100)

    claims = await job_queue(transaction, queues=("a", "b", "c")).claim(10)

    (row,) = await ready.fetch("SELECT count(*) FROM (SELECT 1 FROM jobs FOR SHARE SKIP LOCKED) AS unlocked")
    assert (len(claims), row["count"]) == (10, 50)
