"""The cost of a job under load, as counts that other load on the machine does not change."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis as sync_redis

from headrace.adapters.database import StatementPool
from headrace.domain.database import Row
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.jobs.submission.submitter import Submitter
from headrace.settings import Settings
from support.harness import working
from support.lease_driver import OWNER, seed_database

JOBS = 2_000
LEFT = "SELECT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL) AS some"


class Counted:
    """Counts the SQL statements of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = 0
        fetch = StatementPool.fetch

        async def counting(pool: StatementPool, statement: str, *arguments: Any) -> Sequence[Row]:
            self.statements += statement != LEFT
            return await fetch(pool, statement, *arguments)

        monkeypatch.setattr(StatementPool, "fetch", counting)


async def test_statements_and_round_trips_are_shared_by_many_jobs(
    settings: Settings, database: StatementPool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed_database(database)
    orders = [JobSpec(pipeline="noop", params={})] * 1_000
    for _ in range(JOBS // 1_000):
        await Submitter(database).submit(OWNER, orders, lambda _: b"")
    broker = sync_redis.Redis.from_url(redis_url)
    broker.config_resetstat()
    counted = Counted(monkeypatch)

    async with asyncio.timeout(60), working(settings, concurrency=200):
        while (await database.fetch(LEFT))[0]["some"]:
            await asyncio.sleep(0.05)
        statements = counted.statements
        stats: Any = broker.info("commandstats")
        reads: Any = broker.info("stats")
    broker.close()

    commands = sum(command["calls"] for command in stats.values())
    assert statements / JOBS <= 0.1
    assert commands / JOBS <= 6
    assert reads["total_reads_processed"] / JOBS <= 0.1
