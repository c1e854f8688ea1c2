"""Random faults from a seed: workers killed and frozen, Redis flushed, connections cut."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import redis.asyncio as async_redis

from faults import processes, servers
from faults.checker import MAX_LOSSES, assert_kept
from faults.form import by_form, seeded_random
from faults.load import Load
from faults.settling import settled
from faults.stored_files import assert_files_kept
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving


async def kill(workers: list[processes.LoggedProcess], random_source: Random) -> None:
    for child in random_source.choice(workers).children():
        child.send(signal.SIGKILL)


async def freeze(workers: list[processes.LoggedProcess], random_source: Random) -> None:
    """Stop a worker for a random time, which may be longer than its leases."""
    frozen = random_source.choice(workers).children()
    await processes.freeze(frozen, random_source.uniform(0.5, 3.0))


@asynccontextmanager
async def two_workers(settings: Settings) -> AsyncIterator[list[processes.LoggedProcess]]:
    async with AsyncExitStack() as stack:
        starting = [processes.supervised(settings, "--concurrency", "5") for _ in range(2)]
        yield [await stack.enter_async_context(worker) for worker in starting]


async def test_killing_workers_at_random_loses_no_job(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    random_source = seeded_random()
    async with serving(faulty) as api, two_workers(faulty) as workers:
        load = Load(api.http, ledger, hold_seconds=0.2)
        async with load.running():
            for _ in range(by_form(6, 60)):
                await asyncio.sleep(random_source.uniform(0.2, 1.0))
                await kill(workers, random_source)
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert any(job.lost_attempts for job in kept.values())
    assert all(job.state == "succeeded" for job in kept.values() if job.losses < MAX_LOSSES)


async def test_random_faults_of_all_kinds_lose_no_job(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    random_source = seeded_random()
    async with (
        serving(faulty) as api,
        two_workers(faulty) as workers,
        async_redis.Redis.from_url(str(faulty.redis_url)) as redis,
    ):
        faults = [
            lambda: kill(workers, random_source),
            lambda: freeze(workers, random_source),
            lambda: servers.terminate_sessions(database),
            redis.flushall,
        ]
        load = Load(api.http, ledger, hold_seconds=0.2, saves=2)
        async with load.running():
            for _ in range(by_form(12, 150)):
                await asyncio.sleep(random_source.uniform(0.1, 0.5))
                await random_source.choice(faults)()
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)
    file_count = await assert_files_kept(database, faulty)

    assert file_count >= 2 * sum(job.state == "succeeded" for job in kept.values())
    assert {response.status_code for response in load.refusals} <= {503}
    assert all(job.state == "succeeded" for job in kept.values() if job.losses < MAX_LOSSES)
