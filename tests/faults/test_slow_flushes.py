"""A living worker keeps its leases while PostgreSQL flushes slowly: its writes renew them as well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.form import by_form
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving


@asynccontextmanager
async def slow_flushes(url: str, seconds: float) -> AsyncIterator[None]:
    """Let each commit hold its locks for up to *seconds*: it waits for a standby that does not exist."""
    connection = await asyncpg.connect(url)

    async def wait_for(standby: str) -> None:
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        await connection.execute("SELECT pg_reload_conf()")

    async def alternate() -> None:
        while True:
            await wait_for("nobody")
            await asyncio.sleep(seconds)
            await wait_for("")
            await asyncio.sleep(0.05)

    alternating = asyncio.create_task(alternate())
    try:
        yield
        assert not alternating.done(), alternating.exception()
    finally:
        alternating.cancel()
        await asyncio.wait([alternating])
        await connection.close()
        # A cancel may have left the connection in the middle of a statement.
        last = await asyncpg.connect(url)
        await last.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await last.execute("SELECT pg_reload_conf()")
        await last.close()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", by_form([1.5], [0.7, 1.0, 1.5]))
async def test_a_living_worker_loses_no_lease_to_slow_flushes(
    own: Settings, ledger: Path, seconds: float
) -> None:
    # This test starts its own PostgreSQL, whose settings it changes.
    settings = msgspec.structs.replace(own, lease_seconds=3)
    database = await StatementPool.open(str(settings.database_url), size=2)
    async with serving(settings) as api, processes.worker(settings):
        load = Load(api.http, ledger, items=40, hold_seconds=0.2)
        async with slow_flushes(str(settings.database_url), seconds), load.running():
            await asyncio.sleep(by_form(15, 60))
        await settled(database, load.accepted, seconds=100)
        kept = await assert_kept(api, database, load.accepted, ledger)
    await database.close()

    assert len(kept) >= 5
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
