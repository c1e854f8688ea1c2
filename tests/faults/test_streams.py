"""Every client sees every event of its job, in order, once, whatever is killed, cut or lost meanwhile."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

from faults import crashing, processes
from faults.form import by_form, seeded_dice
from faults.settling import settled
from faults.stream_clients import TRANSPORTS
from faults.stream_crowd import Crowd, crowd
from faults.stream_judge import judge, table
from faults.stream_log import read_histories
from faults.stream_torment import Torment
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import serving

JOBS = by_form(500, 10_000)
ROUNDS = by_form(1, 10)
AT_ONCE = 60
ALL = tuple(TRANSPORTS)
UNHEARD = "unheard"


async def watch_some(
    watching: Crowd, tormenting: asyncio.Task[None], dice: Random, places: list[int]
) -> None:
    """Submit and watch one job after the other: most with one client, every tenth over every transport."""
    while places or not tormenting.done():
        place = places.pop() if places else dice.randrange(JOBS)
        queue = UNHEARD if place % 10 == 1 else "default"
        seconds = round(dice.uniform(0.2, 2.0), 2)
        job_id = await watching.submit(queue=queue, params={"seconds": seconds, "lines": dice.randint(1, 8)})
        transports = ALL if place % 10 == 0 else (ALL[place % len(ALL)],)
        await watching.watch(job_id, transports, is_steady=place % 4 == 1)


async def torment_all(torment: Torment, watching: Crowd) -> None:
    """One fault after the other, spread over the time in which jobs are watched."""
    faults = [torment.cut_pubsub, torment.restart_redis, torment.kill_api, torment.deploy_api] * ROUNDS
    for number, fault in enumerate(faults):
        await watching.until_done(number * JOBS // (len(faults) + 1))
        if fault == torment.kill_api:
            await watching.until_open(torment.addresses[0], ALL)
        await fault()


async def test_streams_have_no_holes_whatever_happens(own: Settings, own_servers: Servers) -> None:
    dice = seeded_dice()
    assert own_servers.redis is not None
    async with AsyncExitStack() as stack:
        torment = Torment(own, own_servers.redis, stack)
        muting = crashing.command("last_news", breaks="mute")
        _, _, muted = await asyncio.gather(
            torment.begin(),
            stack.enter_async_context(processes.worker(own, "--concurrency", str(AT_ONCE))),
            stack.enter_async_context(processes.worker(own, "--queue", UNHEARD, command=muting)),
        )
        watching = await stack.enter_async_context(crowd(torment.addresses, dice))
        async with asyncio.TaskGroup() as group:
            tormenting = group.create_task(torment_all(torment, watching))
            places = list(range(JOBS))
            for _ in range(AT_ONCE):
                group.create_task(watch_some(watching, tormenting, dice, places))
        torment.assert_alive()
        torment.happened["last events muted"] = muted.said.count("breaks: mute")
    database = await StatementPool.open(str(own.database_url))
    histories = await read_histories(database, {told.job_id for told in watching.clients})
    await database.close()

    found = judge(watching.clients, histories)

    print(table(watching.clients, histories, found))  # noqa: T201
    print(dict(torment.happened))  # noqa: T201
    assert found == [], "\n".join(finding.said for finding in found[:20])
    assert len(histories) >= JOBS
    assert len(torment.happened) == 5
    assert all(torment.happened.values())
    assert any(told.byes for told in watching.clients)
    for transport in TRANSPORTS:
        of_it = [told for told in watching.clients if told.transport == transport]
        assert any(len(told.opened) > 1 for told in of_it)
        assert any(told.left for told in of_it)
        assert any(told.cut > told.byes for told in of_it)


async def test_a_muted_last_event_is_noticed_within_a_beat(faulty: Settings, database: StatementPool) -> None:
    dice = seeded_dice()
    muting = crashing.command("last_news", breaks="mute")
    async with serving(faulty) as api, processes.worker(faulty, command=muting) as muted:
        # Nobody comes later than these: whoever comes has the heads checked at once.
        async with crowd([str(api.http.base_url)], dice) as watching, asyncio.TaskGroup() as group:
            for _ in range(by_form(5, 100)):
                job_id = await watching.submit(params={"seconds": 1.5})
                group.create_task(watching.watch(job_id, ALL, is_steady=True))
        await settled(database, [told.job_id for told in watching.clients])
        histories = await read_histories(database, {told.job_id for told in watching.clients})
        assert "breaks: mute" in muted.said

    found = judge(watching.clients, histories)

    print(table(watching.clients, histories, found))  # noqa: T201
    assert found == [], "\n".join(finding.said for finding in found[:20])
    for told in watching.clients:
        (stay,) = told.stays
        assert stay.opened_at is not None
        assert stay.opened_at < histories[told.job_id].finished_at
