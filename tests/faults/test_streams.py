"""Every client sees every event of its job, in order and once, despite killed processes and lost messages."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from random import Random

import pytest

from faults import crashing, processes
from faults.form import by_form, seeded_random
from faults.settling import settled
from faults.stream_clients import TRANSPORTS
from faults.stream_crowd import Crowd, crowd
from faults.stream_judge import judge, table
from faults.stream_log import read_histories
from faults.stream_torment import Torment
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import register_pipelines, serving

JOBS = by_form(500, 10_000)
ROUNDS = by_form(1, 10)
AT_ONCE = 60
MAX_RESTARTS = 10
ALL_TRANSPORTS = tuple(TRANSPORTS)
MUTED_QUEUE = "unheard"


async def watch_some(
    watchers: Crowd, tormenting: asyncio.Task[None], random_source: Random, places: list[int]
) -> None:
    """Submit and watch jobs in turn: most with one client, every tenth over every transport."""
    while places or not tormenting.done():
        place = places.pop() if places else random_source.randrange(JOBS)
        queue = MUTED_QUEUE if place % 10 == 1 else "default"
        seconds = round(random_source.uniform(0.2, 2.0), 2)
        job_id = await watchers.submit(
            queue=queue, params={"seconds": seconds, "lines": random_source.randint(1, 8)}
        )
        transports = ALL_TRANSPORTS if place % 10 == 0 else (ALL_TRANSPORTS[place % len(ALL_TRANSPORTS)],)
        await watchers.watch(job_id, transports, is_steady=place % 4 == 1)


async def torment_all(torment: Torment, watchers: Crowd) -> None:
    """Inject one fault after the other, spread over the time in which jobs are watched."""
    faults = [torment.cut_pubsub, torment.restart_redis, torment.kill_api, torment.deploy_api] * ROUNDS
    for number, fault in enumerate(faults):
        await watchers.until_done(number * JOBS // (len(faults) + 1))
        if fault == torment.kill_api:
            await repeat(fault, watchers, torment.addresses[0], ALL_TRANSPORTS, until=has_cut_each_transport)
        elif fault == torment.deploy_api:
            await repeat(fault, watchers, torment.addresses[1], ["socket", "events"], until=has_said_bye)
        else:
            await fault()


async def repeat(
    restart: Callable[[], Awaitable[None]],
    watchers: Crowd,
    address: str,
    transports: Collection[str],
    *,
    until: Callable[[Crowd], bool],
) -> None:
    """Restart an API until clients have noticed: those that are connected may leave just before."""
    for _ in range(MAX_RESTARTS):
        await watchers.until_open(address, transports)
        await restart()
        if until(watchers):
            return


def has_cut_each_transport(watchers: Crowd) -> bool:
    cut = {record.transport for record in watchers.clients if record.cut}
    return cut.issuperset(ALL_TRANSPORTS)


def has_said_bye(watchers: Crowd) -> bool:
    return any(record.byes for record in watchers.clients)


@pytest.mark.slow
async def test_streams_have_no_gaps_under_faults_of_all_kinds(own: Settings, own_servers: Servers) -> None:
    random_source = seeded_random()
    assert own_servers.redis is not None
    async with AsyncExitStack() as stack:
        torment = Torment(own, own_servers.redis, stack)
        muting = crashing.command("last_news", breaks="mute")
        _, _, muted = await asyncio.gather(
            torment.begin(),
            stack.enter_async_context(processes.worker(own, "--concurrency", str(AT_ONCE))),
            stack.enter_async_context(processes.worker(own, "--queue", MUTED_QUEUE, command=muting)),
        )
        watchers = await stack.enter_async_context(crowd(torment.addresses, random_source))
        async with asyncio.TaskGroup() as group:
            tormenting = group.create_task(torment_all(torment, watchers))
            places = list(range(JOBS))
            for _ in range(AT_ONCE):
                group.create_task(watch_some(watchers, tormenting, random_source, places))
        torment.assert_alive()
        torment.fault_counts["last events muted"] = muted.output.count("breaks: mute")
    database = await StatementPool.open(str(own.database_url))
    histories = await read_histories(database, {record.job_id for record in watchers.clients})
    await database.close()

    findings = judge(watchers.clients, histories)

    print(table(watchers.clients, histories, findings))  # noqa: T201
    print(dict(torment.fault_counts))  # noqa: T201
    assert findings == [], "\n".join(finding.text for finding in findings[:20])
    assert len(histories) >= JOBS
    assert len(torment.fault_counts) == 5
    assert all(torment.fault_counts.values())
    assert has_said_bye(watchers)
    assert has_cut_each_transport(watchers)
    for transport in TRANSPORTS:
        of_transport = [record for record in watchers.clients if record.transport == transport]
        assert any(len(record.opened) > 1 for record in of_transport)
        assert any(record.abandoned for record in of_transport)


async def test_an_unpublished_last_event_is_noticed_in_time(
    faulty: Settings, database: StatementPool
) -> None:
    random_source = seeded_random()
    muting = crashing.command("last_news", breaks="mute")
    jobs = by_form(5, 100)
    await register_pipelines(faulty)
    async with serving(faulty) as api, AsyncExitStack() as stack:
        async with crowd([str(api.http.base_url)], random_source) as watchers, asyncio.TaskGroup() as group:
            for _ in range(jobs):
                job_id = await watchers.submit(params={"seconds": 1.5})
                group.create_task(watchers.watch(job_id, ALL_TRANSPORTS, is_steady=True))
            # No client connects later: a new connection would make the service check the heads at once.
            await watchers.until_connected(jobs * len(ALL_TRANSPORTS))
            muted = await stack.enter_async_context(processes.worker(faulty, command=muting))
        await settled(database, [record.job_id for record in watchers.clients])
        histories = await read_histories(database, {record.job_id for record in watchers.clients})
        assert "breaks: mute" in muted.output

    findings = judge(watchers.clients, histories)

    print(table(watchers.clients, histories, findings))  # noqa: T201
    assert findings == [], "\n".join(finding.text for finding in findings[:20])
    for record in watchers.clients:
        (connection,) = record.connections
        assert connection.opened_at is not None
        assert connection.opened_at < histories[record.job_id].finished_at
