"""A whole service under random requests and all kinds of faults keeps everything that it has acknowledged."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import httpx
import pytest

from faults.checker import violations
from faults.form import by_form, seeded_random
from faults.mixed_checker import broken_promises
from faults.mixed_client import MixedClient
from faults.mixed_faults import MixedFaults
from faults.mixed_load import MixedLoad
from faults.mixed_logs import unexpected_errors
from faults.mixed_stored import read_jobs, unkept_by_api, wrong_bytes, wrong_uploads
from faults.mixed_workers import MixedWorkers
from faults.proxy import proxied
from faults.read_only_store import HEADRACE_WITHOUT_OVERRIDE
from faults.settling import settled
from faults.stored_files import assert_files_kept
from faults.stream_clients import TRANSPORTS
from faults.stream_crowd import Crowd, crowd
from faults.stream_judge import judge, table
from faults.stream_log import read_histories
from faults.stream_torment import Torment
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import TLS

ROUNDS = by_form(1, 10)
WATCHED_AT_ONCE = 40
SETTLE_SECONDS = 240.0
WATCH_SECONDS = by_form(400.0, 1800.0)
FAULTS = {
    *("worker killed", "worker frozen", "worker stopped"),
    *("API killed", "API stopped", "API frozen"),
    *("Redis restarted", "Redis flushed", "pub/sub connections killed"),
    *("PostgreSQL restarted", "sessions terminated", "connections reset"),
    *("flushes slowed", "SQLSTATEs injected", "store read-only"),
}


def watching(watchers: Crowd, group: asyncio.TaskGroup, random_source: Random) -> Callable[[str], bool]:
    """Return a function that watches a job over one transport or all, unless many are watched already."""
    started = 0

    def watch(job_id: str) -> bool:
        nonlocal started
        if started - watchers.done >= WATCHED_AT_ONCE:
            return False
        started += 1
        transports = random_source.choice([*((transport,) for transport in TRANSPORTS), tuple(TRANSPORTS)])
        group.create_task(watchers.watch(job_id, transports, is_steady=random_source.random() < 0.25))
        return True

    return watch


@pytest.mark.slow
async def test_no_promise_is_broken_under_random_requests_and_faults_of_all_kinds(
    own: Settings, own_servers: Servers, ledger: Path, tmp_path: Path
) -> None:
    # This test starts its own PostgreSQL and Redis, because it kills both.
    random_source = seeded_random()
    order, load_choices, watch_choices = (Random(random_source.random()) for _ in range(3))  # noqa: S311
    postgres, redis = own_servers.postgres, own_servers.redis
    assert postgres is not None
    assert redis is not None
    own.blob_dir.mkdir()
    database = await StatementPool.open(postgres.url, size=2)
    async with AsyncExitStack() as stack:
        proxy, proxied_url = await stack.enter_async_context(proxied(postgres.url))
        torment = Torment(own, redis, stack, HEADRACE_WITHOUT_OVERRIDE)
        workers = MixedWorkers(own, proxied_url, tmp_path / "releases", stack, order)
        await asyncio.gather(torment.begin(), workers.begin())
        faults = MixedFaults(own, database, postgres, redis, proxy, torment, workers, order)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=20, verify=TLS, trust_env=False))
        watchers = await stack.enter_async_context(
            crowd(torment.addresses, watch_choices, timeout_seconds=WATCH_SECONDS)
        )
        client = MixedClient(torment.addresses, http, load_choices)
        async with asyncio.TaskGroup() as group:
            load = MixedLoad(client, ledger, watching(watchers, group, watch_choices))
            async with load.running():
                await faults.inject_all(ROUNDS)
            await settled(database, seconds=SETTLE_SECONDS)
        unkept = await unkept_by_api(http, torment.addresses[0], load.sent)
        torment.assert_alive()
        workers.assert_alive()
    file_count = await assert_files_kept(database, own)
    jobs = await read_jobs(database, ledger)
    histories = await read_histories(database, {record.job_id for record in watchers.clients})
    files = await wrong_bytes(database, own) + await wrong_uploads(database, load.sent)
    await database.close()

    findings = judge(watchers.clients, histories)

    print(client.table())  # noqa: T201
    print(dict(faults.fault_counts))  # noqa: T201
    print(f"{len(jobs)} jobs, {file_count} files")  # noqa: T201
    print(table(watchers.clients, histories, findings))  # noqa: T201
    records = {job_id: job.record for job_id, job in jobs.items()}
    broken = [*violations([*records], records), *broken_promises(load.sent, jobs), *unkept, *files]
    assert client.oddities == []
    assert unexpected_errors(own.data_dir) == []
    assert broken == [], "\n".join(broken[:20])
    assert findings == [], "\n".join(finding.text for finding in findings[:20])
    assert client.missing_successes() == []
    assert FAULTS - faults.fault_counts.keys() == set()
    assert any(fault.endswith("deployed") for fault in faults.fault_counts)
    assert {record.transport for record in watchers.clients} == set(TRANSPORTS)
    assert {job.record.state for job in jobs.values()} == {"succeeded", "failed", "cancelled"}
