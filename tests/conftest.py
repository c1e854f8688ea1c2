"""Real servers for the whole run, and a fresh database for each test that needs one.

Every pytest-xdist worker has its own servers, so processes share nothing.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import redis as sync_redis

from headrace.adapters.database import StatementPool
from headrace.adapters.gc_tuning import collect_rarely
from headrace.adapters.logs import configure_logging
from headrace.adapters.migrations import upgrade
from headrace.adapters.servers import Servers
from headrace.adapters.temporary_folders import remove_abandoned_folders
from headrace.domain.events.partitions import create_partitions
from headrace.settings import Settings
from support.harness import Api, new_database, on_database, private_servers
from support.machine import describe_run
from support.patience import TEST_SECONDS
from support.shared_service import SharedService, shared_service

TEMPLATE = "headrace_template"

# Timings never decide a test: a busy machine may stall while an example is made or runs.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

configure_logging("info", as_json=False)
collect_rarely()  # as the command does

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background run of a script ignores Ctrl-C, and every process that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Give tests more time on a slow machine, unless the caller has set a limit."""
    if config.getoption("timeout", None) is None:
        os.environ.setdefault("PYTEST_TIMEOUT", f"{TEST_SECONDS:.0f}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say at the start of a run of all tests what it will take."""
    return describe_run() if config.args_source is pytest.Config.ArgsSource.TESTPATHS else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each process of the run its share of the slow tests first, so that none begins one at the end.

    pytest-xdist (`worksteal`) gives each process an equal part of the list, in order.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for number in range(processes):
        share = slow[number::processes]
        size = max(0, (len(items) - len(ordered)) // (processes - number) - len(share))
        ordered += share + others[:size]
        del others[:size]
    items[:] = ordered


def pytest_sessionfinish() -> None:
    """Remove the scratch folders of workers that tests have killed."""
    remove_abandoned_folders()


@pytest.fixture
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the modules that the test imports, and restore the path on which it looks for them."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The PostgreSQL and the Redis of this process."""
    with private_servers() as running:
        yield running


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """A migrated database from which all others are copied."""
    url = str(servers.database_url)

    async def create() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await connection.close()

    # This needs another thread, because alembic starts its own event loop.
    async def partition() -> None:
        pool = await StatementPool.open(on_database(url, TEMPLATE), size=1)
        await create_partitions(pool, datetime.now(UTC))
        await pool.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create()).result()
        thread.submit(upgrade, on_database(url, TEMPLATE)).result()
        thread.submit(asyncio.run, partition()).result()
    return TEMPLATE


@pytest.fixture(scope="module")
async def module_database_url(servers: Servers, template: str) -> AsyncIterator[str]:
    """A database for all tests of a file."""
    async with new_database(str(servers.database_url), template) as url:
        yield url


@pytest.fixture(scope="module")
def module_settings(
    servers: Servers, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings of the service that the tests of a file share. A file may override it."""
    return _settings(module_database_url, str(servers.redis_url), tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
async def module_api(module_settings: Settings) -> AsyncIterator[SharedService]:
    async with shared_service(module_settings, has_worker=False) as running:
        yield running


@pytest.fixture(scope="module")
async def module_service(module_settings: Settings) -> AsyncIterator[SharedService]:
    async with shared_service(module_settings, has_worker=True) as running:
        yield running


@pytest.fixture
async def api(module_api: SharedService, redis_url: str) -> Api:
    """An API without a worker. The bundled pipelines are registered; there are no rows and no files."""
    await module_api.reset()
    return module_api.api


@pytest.fixture
async def service(module_service: SharedService, redis_url: str) -> Api:
    """An API and a worker. There are no rows and no files."""
    await module_service.reset()
    return module_service.api


@pytest.fixture
async def own_api(settings: Settings) -> AsyncIterator[Api]:
    """An API like `api`, for a test that stops or changes it."""
    async with shared_service(settings, has_worker=False) as running:
        yield running.api


def _shares_a_service(request: pytest.FixtureRequest) -> bool:
    return not {"api", "service"}.isdisjoint(request.fixturenames)


@pytest.fixture
async def own_database_url(servers: Servers, template: str) -> AsyncIterator[str]:
    """A database with the newest schema and no rows."""
    async with new_database(str(servers.database_url), template) as url:
        yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The database of the `api` or `service` that the test uses, else a new one."""
    name = "module_database_url" if _shares_a_service(request) else "own_database_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    url = str(servers.redis_url)
    with sync_redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(database_url, size=2)
    yield pool
    await pool.close()


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """The settings of the `api` or `service` that the test uses, else new ones."""
    if _shares_a_service(request):
        shared: Settings = request.getfixturevalue("module_settings")
        return shared
    return _settings(database_url, redis_url, tmp_path)


def _settings(database_url: str, redis_url: str, data_dir: Path) -> Settings:
    """Return settings for the servers of the run, with a short lease."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=data_dir,
        lease_seconds=3,
        grace_seconds=5,
        worker_processes=2,
        worker_port=0,
    )
