"""The writes of a living worker renew its leases, while PostgreSQL flushes slowly and heartbeats wait."""

import asyncio

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.flushes import slow_flushes
from faults.form import by_form
from faults.heartbeats import held_heartbeats
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving
from support.patience import until_async

LEASE_SECONDS = 4.0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", by_form([1.5], [0.7, 1.0, 1.5]))
async def test_the_writes_of_a_living_worker_keep_its_leases_while_flushes_are_slow_and_heartbeats_wait(
    own: Settings, seconds: float
) -> None:
    # This test starts its own PostgreSQL, whose settings it changes.
    settings = msgspec.structs.replace(own, lease_seconds=LEASE_SECONDS)
    url = str(settings.database_url)
    # Several leases long: nothing but the writes of the jobs renews them.
    held_seconds = LEASE_SECONDS * by_form(4, 10)
    talk = {"lines": int(held_seconds * 5), "seconds": held_seconds + LEASE_SECONDS}
    database = await StatementPool.open(url, size=2)
    async with serving(settings) as api, processes.worker(settings) as worker:
        jobs = [(await api.submit("talking", params=talk))["id"] for _ in range(5)]
        await until_async(lambda: _all_write(database, jobs))
        async with held_heartbeats(url):
            async with slow_flushes(url, seconds):
                await asyncio.sleep(held_seconds)
            output = worker.output
        await settled(database, jobs)
        kept = await assert_kept(api, database, jobs)
    await database.close()

    assert output.count("heartbeat_missed") > held_seconds / LEASE_SECONDS
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}


async def _all_write(database: StatementPool, jobs: list[str]) -> bool:
    rows = await database.fetch("SELECT DISTINCT job_id FROM job_events WHERE type = 'log'")
    return {str(row["job_id"]) for row in rows} == set(jobs)
