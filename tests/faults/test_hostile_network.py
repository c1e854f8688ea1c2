"""Attackers flood an API in every known way at once: health answers, no job is lost, no stream has a gap."""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import httpx
import pytest

from faults import floods, processes
from faults.form import IS_FULL, seeded_random
from faults.stream_clients import TRANSPORTS
from faults.stream_crowd import Crowd, crowd
from faults.stream_judge import judge, table
from faults.stream_log import read_histories
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import TLS
from support.patience import PATIENCE_SECONDS, until

CONNECTIONS = 50
SECONDS = 60
AT_ONCE = 10
PROBE_SECONDS = 0.1
WARM_UP_CONNECTIONS = 20
WARM_UP_SECONDS = 3
MEMORY_GROWTH = 1.1
# The attackers are the same local user as those who watch, and use up this user's share of the connections.
REFUSALS = (429, 503)
# This is printed with whether it was met. It decides nothing: the machine may be busy.
HEALTH_SECONDS = 0.1


@asynccontextmanager
async def flooding(kinds: Collection[str], address: str, job_id: str) -> AsyncIterator[None]:
    """Run an attacker of each kind; they have ended by themselves when the block ends."""
    url = urlsplit(address)
    assert url.hostname is not None
    attackers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, floods.__file__, kind, url.hostname, str(url.port), job_id),
            *(str(CONNECTIONS), str(SECONDS)),
        )
        for kind in kinds
    ]
    try:
        yield
        async with asyncio.timeout(SECONDS + PATIENCE_SECONDS):
            statuses = [await attacker.wait() for attacker in attackers]
        assert statuses == [0] * len(attackers)
    finally:
        for attacker in attackers:
            if attacker.returncode is None:
                attacker.kill()
                await attacker.wait()


async def probe(address: str) -> list[float]:
    """Ask for the service's health again and again, each time on a new connection; return the seconds."""
    taken = []
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        asked = time.perf_counter()
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, verify=TLS) as client:
            response = await client.get("/health/live")
        taken.append(time.perf_counter() - asked)
        assert response.status_code == 200
        await asyncio.sleep(PROBE_SECONDS)
    return taken


async def watch_jobs(watchers: Crowd, random_source: Random, probing: asyncio.Task[list[float]]) -> None:
    while not probing.done():
        params = {"seconds": round(random_source.uniform(0.1, 1.0), 2), "lines": 3}
        job_id = await watchers.submit(params=params)
        transport = random_source.choice(list(TRANSPORTS))
        await watchers.watch(job_id, [transport], is_steady=False)


async def warm_up(address: str, job_id: str) -> None:
    """Use the API in each of the ways at once, so that its caches are filled and its pools open."""
    url = urlsplit(address)
    assert url.hostname is not None
    assert url.port is not None
    target = floods.Target(url.hostname, url.port, job_id)
    await asyncio.gather(
        *(floods.flood(target, kind, WARM_UP_CONNECTIONS, WARM_UP_SECONDS) for kind in floods.KINDS)
    )


def resident_mib(process: processes.LoggedProcess) -> float:
    """Return the memory of the API's process."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not IS_FULL, reason="it takes both cores for a minute: make faults")
async def test_floods_of_all_kinds_stop_neither_health_nor_jobs_nor_streams(
    faulty: Settings, database: StatementPool
) -> None:
    random_source = seeded_random()
    async with AsyncExitStack() as stack:
        api, address = await stack.enter_async_context(processes.api(faulty))
        await stack.enter_async_context(processes.worker(faulty, "--concurrency", str(AT_ONCE)))
        watchers = await stack.enter_async_context(crowd([address], random_source, refusals=REFUSALS))
        target = await watchers.submit(params={"seconds": 0.1, "lines": 1})
        await watchers.watch(target, list(TRANSPORTS), is_steady=False)
        await warm_up(address, target)
        before = resident_mib(api)
        async with flooding(floods.KINDS, address, target), asyncio.TaskGroup() as group:
            probing = group.create_task(probe(address))
            for _ in range(AT_ONCE):
                group.create_task(watch_jobs(watchers, random_source, probing))
        taken = sorted(probing.result())
        flooded = resident_mib(api)
        assert api.process.returncode is None
        with suppress(AssertionError):
            await until(lambda: resident_mib(api) <= before * MEMORY_GROWTH)
        after = resident_mib(api)
    histories = await read_histories(database, {record.job_id for record in watchers.clients})
    findings = judge(watchers.clients, histories)

    print(table(watchers.clients, histories, findings))  # noqa: T201
    late = taken[int(len(taken) * 0.99)]
    verdict = "met" if late < HEALTH_SECONDS else "not met"
    print(  # noqa: T201
        f"{CONNECTIONS} connections of each kind, {len(histories)} jobs; /health/live: "
        f"p50 {statistics.median(taken) * 1000:.1f} ms, "
        f"p99 {late * 1000:.1f} ms, to reach < {HEALTH_SECONDS * 1000:.0f} ms: {verdict}, "
        f"max {taken[-1] * 1000:.1f} ms ({len(taken)} probes); "
        f"memory {before:.0f} -> {flooded:.0f} -> {after:.0f} MiB"
    )
    assert findings == [], "\n".join(finding.text for finding in findings[:20])
    assert histories.keys() == {record.job_id for record in watchers.clients}, "an acknowledged job is lost"
    assert after <= before * MEMORY_GROWTH
    assert len(taken) > 1
