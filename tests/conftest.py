"""Real servers for the whole run, and a fresh database for each test that asks for one.

Every pytest-xdist worker has servers of its own, so nothing is shared between processes.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import redis as sync_redis

from headrace.adapters.database import StatementPool
from headrace.adapters.logs import configure_logging
from headrace.adapters.migrations import upgrade
from headrace.adapters.servers import Servers
from headrace.domain.events.partitions import make_partitions
from headrace.settings import Settings
from headrace.workers.main import open_worker
from support.harness import Api, new_database, on_database, private_servers, serving, working

TEMPLATE = "headrace_template"

configure_logging("info", as_json=False)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in the background of a script ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis of this process."""
    with private_servers() as running:
        yield running


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """A migrated database that the others are copied from."""
    url = str(servers.database_url)

    async def create() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await connection.close()

    # Not in the loop of the tests: alembic brings its own.
    async def partition() -> None:
        pool = await StatementPool.open(on_database(url, TEMPLATE), size=1)
        await make_partitions(pool, datetime.now(UTC))
        await pool.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create()).result()
        thread.submit(upgrade, on_database(url, TEMPLATE)).result()
        thread.submit(asyncio.run, partition()).result()
    return TEMPLATE


@pytest.fixture
async def database_url(servers: Servers, template: str) -> AsyncIterator[str]:
    """A database with the newest schema and no rows."""
    async with new_database(str(servers.database_url), template) as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    url = str(servers.redis_url)
    with sync_redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(database_url)
    yield pool
    await pool.close()


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a service on those servers, with a short lease."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        lease_seconds=3,
        grace_seconds=5,
        worker_processes=2,
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """An API without any worker; the bundled pipelines are registered."""
    async with open_worker(settings, ("nobody",), 1):
        pass
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Api]:
    """An API and a worker."""
    async with serving(settings) as running, working(settings):
        yield running
