"""Fixtures: the fault pipelines' settings, a ledger outside the service, and servers that a test may stop."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from faults.form import IS_FULL
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import upgrade
from headrace.adapters.servers import Servers
from headrace.domain.events.partitions import create_partitions
from headrace.settings import Settings
from support.harness import private_servers

FLOWS = Path(__file__).parent / "flows" / "fault_flows.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raise the time limit of the full form."""
    for item in items:
        if IS_FULL and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800), append=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A file to which each entry into a step adds a line."""
    return tmp_path / "ledger"


@pytest.fixture
def faulty(settings: Settings) -> Settings:
    """The settings of a test with the pipelines of `flows/`, a short lease and a short grace time."""
    return _faulty(settings)


@pytest.fixture
def patient(faulty: Settings) -> Settings:
    """The settings of `faulty` with a lease that outlasts a stall of the machine."""
    return msgspec.structs.replace(faulty, lease_seconds=60)


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """A PostgreSQL and a Redis of one test, which may stop and damage them."""
    with private_servers() as servers:
        yield servers


@pytest.fixture
async def own(own_servers: Servers, tmp_path: Path) -> Settings:
    """Settings for `own_servers`, with a migrated database."""
    url = str(own_servers.database_url)
    await asyncio.to_thread(upgrade, url)
    pool = await StatementPool.open(url, size=1)
    await create_partitions(pool, datetime.now(UTC))
    await pool.close()
    return _faulty(Settings(database_url=url, redis_url=own_servers.redis_url, data_dir=tmp_path))


def _faulty(settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings, pipelines=(str(FLOWS),), lease_seconds=1.5, grace_seconds=2, worker_processes=2
    )
