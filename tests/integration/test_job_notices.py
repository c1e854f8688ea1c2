"""A commit of another program wakes the workers of its queue, without Redis and without an API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.adapters.job_notices import CHANNEL, JobNotices
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.domain.conditions import Trouble
from headrace.settings import Settings
from headrace.workers import work_signals
from support.harness import register_pipelines, working
from support.patience import PATIENCE_SECONDS, until, until_async
from support.pgbouncer import needs_pgbouncer, pgbouncer
from support.session_pooler import session_pooler
from support.transactional import connected, schema_of, submit


@pytest.fixture
async def registered(settings: Settings) -> Settings:
    await register_pipelines(settings)
    return settings


@asynccontextmanager
async def listening(
    url: str, queues: tuple[str, ...] = ("default",), **options: Any
) -> AsyncIterator[tuple[JobNotices, list[None], list[Trouble]]]:
    """Run `JobNotices` for the block; yield it with its notices and failures."""
    heard: list[None] = []
    troubles: list[Trouble] = []
    notices = JobNotices(
        parse_postgres_url(url), queues, lambda: heard.append(None), troubles.append, **options
    )
    task = asyncio.create_task(notices.run())
    try:
        yield notices, heard, troubles
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)


async def state_of(database: StatementPool, job_id: Any) -> str:
    return str((await database.fetch("SELECT state FROM jobs WHERE id = $1", job_id))[0]["state"])


async def test_a_commit_starts_its_job_without_redis_and_api(
    registered: Settings, database: StatementPool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a notice can start the job: the worker polls once in an hour.
    monkeypatch.setattr(work_signals, "POLL_SECONDS", 3600.0)
    alone = msgspec.structs.replace(registered, redis_url=None)

    async with working(alone), connected(database_url) as connection:
        await until_async(lambda: is_listening(database))
        async with connection.transaction():
            job_id = await submit(connection, "noop")
            assert not await database.fetch("SELECT FROM jobs WHERE id = $1", job_id)

        async def has_succeeded() -> bool:
            return await state_of(database, job_id) == "succeeded"

        await until_async(has_succeeded)


async def is_listening(database: StatementPool) -> bool:
    return bool(
        await database.fetch(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%'"
        )
    )


async def test_one_notice_for_each_queue_that_has_due_jobs(registered: Settings, database_url: str) -> None:
    payloads: list[str] = []
    async with connected(database_url) as connection, connected(database_url) as other:
        await other.add_listener(CHANNEL, lambda *notice: payloads.append(notice[3]))
        async with connection.transaction():
            for queue in ("a", "a", "b"):
                await submit(connection, "noop", queue=queue)
            await submit(connection, "noop", queue="later", run_at="2190-01-01T00:00:00Z")
        async with connection.transaction():
            await connection.execute("SET LOCAL headrace.notify = off")
            await submit(connection, "noop", queue="silent")
        await submit(connection, "noop", queue="last")
        schema = await schema_of(connection)
        await until(lambda: f"{schema}.last" in payloads)

    assert sorted(payloads) == [f"{schema}.{queue}" for queue in ("a", "b", "last")]


async def test_only_notices_of_the_own_queues_count(registered: Settings, database_url: str) -> None:
    async with listening(database_url, ("mine",)) as (notices, heard, _):
        await until(lambda: notices.is_listening)
        heard.clear()
        async with connected(database_url) as connection:
            for queue in ("other", "mine"):
                await submit(connection, "noop", queue=queue)
            await connection.execute("SELECT pg_notify($1, 'elsewhere.mine')", CHANNEL)
            await submit(connection, "noop", queue="mine")
        await until(lambda: len(heard) >= 2)

    assert len(heard) == 2


async def test_a_lost_connection_is_opened_again(registered: Settings, database_url: str) -> None:
    async with listening(database_url) as (notices, heard, troubles):
        await until(lambda: notices.is_listening)
        first: Any = notices._connection
        async with connected(database_url) as connection:
            await connection.execute("SELECT pg_terminate_backend($1)", first.get_server_pid())
            await until(lambda: notices.is_listening and notices._connection is not first)
            heard.clear()
            await submit(connection, "noop")
        await until(lambda: bool(heard))

        second = notices._connection
        await notices.expire()
        await until(lambda: notices.is_listening and notices._connection is not second)

    assert troubles == []


async def test_a_server_that_is_away_is_reported_and_tried_again() -> None:
    async with listening("postgresql://nobody@127.0.0.1:1/nothing") as (notices, _, troubles):
        await until(lambda: len(troubles) >= 2)

    assert not notices.is_listening


async def test_an_idle_connection_is_tried(database_url: str) -> None:
    async with listening(database_url, keep_alive_seconds=0.01) as (notices, _, troubles):
        await until(lambda: notices.is_listening)
        listener: Any = notices._connection
        async with connected(database_url) as connection:

            async def is_tried() -> bool:
                return bool(
                    await connection.fetch(
                        "SELECT FROM pg_stat_activity WHERE pid = $1 AND query = 'SELECT 1'",
                        listener.get_server_pid(),
                    )
                )

            await until_async(is_tried)

    assert troubles == []


async def start_behind(pooled: str, settings: Settings, database: StatementPool) -> None:
    """Run a worker and submit a job, both through a pooler, until it has succeeded."""
    with capture_logs() as logs:
        async with working(msgspec.structs.replace(settings, database_url=pooled)):
            connection = await asyncpg.connect(pooled, statement_cache_size=0)
            async with connection.transaction():
                await connection.execute(f"SET LOCAL search_path = {await schema_of(connection)}")
                job_id = await submit(connection, "noop", tags=["pooled"])
            await connection.close()

            async def has_succeeded() -> bool:
                return await state_of(database, job_id) == "succeeded"

            await until_async(has_succeeded)
            await until(lambda: any(line["event"] == "no_notices_behind_a_pooler" for line in logs))


async def test_behind_a_pooler_jobs_are_found_by_polling(
    registered: Settings, database: StatementPool, database_url: str
) -> None:
    async with session_pooler(database_url, ignores_parameters=False) as pooled:
        await start_behind(pooled, registered, database)


@needs_pgbouncer
async def test_behind_pgbouncer_jobs_are_found_by_polling(
    registered: Settings, database: StatementPool, database_url: str
) -> None:
    # Its own, because it stands before the database of this test.
    async with pgbouncer(database_url, "pool_mode = transaction", "default_pool_size = 20") as pooled:
        await start_behind(pooled, registered, database)
