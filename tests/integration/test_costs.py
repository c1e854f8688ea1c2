"""The cost of a job under load, in counts that do not depend on the speed of the machine."""

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
from support.patience import PATIENCE_SECONDS

JOBS = 2_000
ANY_UNFINISHED = "SELECT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL) AS some"


class StatementCounter:
    """Counts the SQL statements of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = 0
        fetch = StatementPool.fetch

        async def counting(pool: StatementPool, statement: str, *arguments: Any) -> Sequence[Row]:
            self.statements += statement != ANY_UNFINISHED
            return await fetch(pool, statement, *arguments)

        monkeypatch.setattr(StatementPool, "fetch", counting)


async def test_jobs_share_sql_statements_and_redis_round_trips(
    settings: Settings, database: StatementPool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed_database(database)
    specs = [JobSpec(pipeline="noop", params={})] * 1_000
    for _ in range(JOBS // 1_000):
        await Submitter(database).submit(OWNER, specs, lambda _: b"")
    broker = sync_redis.Redis.from_url(redis_url)
    broker.config_resetstat()
    counter = StatementCounter(monkeypatch)

    async with asyncio.timeout(PATIENCE_SECONDS), working(settings, concurrency=200):
        while (await database.fetch(ANY_UNFINISHED))[0]["some"]:
            await asyncio.sleep(0.05)
        statements = counter.statements
        stats: Any = broker.info("commandstats")
        reads: Any = broker.info("stats")
    broker.close()

    commands = sum(command["calls"] for command in stats.values())
    assert statements / JOBS <= 0.1
    assert commands / JOBS <= 6
    assert reads["total_reads_processed"] / JOBS <= 0.1
