"""A living worker keeps its leases while PostgreSQL flushes slowly: its writes renew them as well."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.flushes import slow_flushes
from faults.form import by_form
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving


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
        await settled(database, load.accepted)
        kept = await assert_kept(api, database, load.accepted, ledger)
    await database.close()

    assert len(kept) >= 5
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
