"""The service keeps working when the network between its parts stalls, resets connections or goes silent."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.form import by_form, seeded_random
from faults.load import Load, assert_in_time
from faults.proxy import Mode, proxied
from faults.settling import running_in, settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import open_api, serving, working
from support.patience import STALL_SECONDS

BAD = [Mode.STALL, Mode.DROP, Mode.HALF_OPEN]
LATE_SECONDS = 2.0
# A statement's connection is given up after this time, see `headrace.adapters.database`.
COMMAND_SECONDS = 30.0
CANCEL_SECONDS = 1.0


@pytest.mark.parametrize("mode", by_form([Mode.STALL, Mode.DROP], BAD))
async def test_a_worker_cut_off_from_postgresql_is_replaced_and_recovers(
    faulty: Settings, database: StatementPool, ledger: Path, mode: Mode
) -> None:
    async with (
        proxied(str(faulty.database_url)) as (network, through),
        serving(faulty) as api,
        processes.worker(msgspec.structs.replace(faulty, database_url=through)) as cut,
    ):
        load = Load(api.http, ledger, hold_seconds=0.2)
        async with working(faulty):
            async with load.running():
                await load.until_more(10)
                await network.become(mode)
                await asyncio.sleep(by_form(4.0, 40.0))
                await load.until_more(10)
            await settled(database, load.accepted)
        await network.become(Mode.PASS)
        healed_at = time.monotonic()
        after = await load.submit_many(3)
        await settled(database, after)
        took = time.monotonic() - healed_at

        assert cut.process.returncode is None
        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {job.state for job in kept.values()} == {"succeeded"}
    assert sum(job.lost_attempts for job in kept.values()) > 0
    assert took < (COMMAND_SECONDS if mode is Mode.HALF_OPEN else 5.0) + STALL_SECONDS
    waits = [job.start_wait for job_id, job in kept.items() if job_id not in after]
    assert_in_time(waits, LATE_SECONDS + 2.0)


@pytest.mark.parametrize("mode", BAD)
async def test_a_worker_cut_off_from_redis_still_starts_jobs_in_time(
    patient: Settings, database: StatementPool, ledger: Path, mode: Mode
) -> None:
    async with (
        proxied(str(patient.redis_url)) as (network, through),
        serving(patient) as api,
        processes.worker(msgspec.structs.replace(patient, redis_url=through)) as cut,
    ):
        load = Load(api.http, ledger)
        async with load.running():
            await load.until_more(10)
            await network.become(mode)
            await asyncio.sleep(by_form(4.0, 20.0))
            await network.become(Mode.PASS)
            await load.until_more(10)
        await settled(database, load.accepted)

        assert cut.process.returncode is None
        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 1)}
    assert_in_time([job.start_wait for job in kept.values()], LATE_SECONDS)


async def test_repeatedly_reset_redis_connections_end_no_process(
    patient: Settings, database: StatementPool, ledger: Path
) -> None:
    random_source = seeded_random()
    async with proxied(str(patient.redis_url)) as (network, through):
        cut = msgspec.structs.replace(patient, redis_url=through)
        async with (
            processes.api(cut) as (api_process, address),
            processes.worker(cut) as worker,
            open_api(address) as api,
        ):
            load = Load(api.http, ledger)
            watched: list[str] = []
            async with load.running(), asyncio.TaskGroup() as watching:
                for round_ in range(by_form(12, 40)):
                    await network.become(Mode.DROP)
                    await network.become(Mode.PASS)
                    if round_ % 4 == 0:
                        watched += await load.submit_many(1)
                        watching.create_task(api.watch(watched[-1]))
                    await asyncio.sleep(random_source.uniform(0.2, 0.6))
            await settled(database, load.accepted)

            assert (api_process.process.returncode, worker.process.returncode) == (None, None)
            kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 1)}


@pytest.mark.parametrize("mode", BAD)
async def test_an_api_cut_off_from_redis_still_responds_cancels_and_streams(
    patient: Settings, database: StatementPool, ledger: Path, mode: Mode
) -> None:
    async with (
        proxied(str(patient.redis_url)) as (network, through),
        serving(msgspec.structs.replace(patient, redis_url=through)) as api,
        working(patient),
    ):
        load = Load(api.http, ledger, hold_seconds=0.1)
        before = await load.submit_many(5, hold_seconds=1.0)
        watching = [asyncio.create_task(api.watch(job_id)) for job_id in before]
        await asyncio.sleep(0.3)
        await network.become(mode)
        ready = await api.http.get("/health/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["redis"])
        (doomed,) = await load.submit_many(1, hold_seconds=600)
        await running_in(database, doomed, "carry[1]")
        began = time.monotonic()
        await api.http.post(f"/api/v1/jobs/{doomed}/cancel")
        await settled(database, [doomed])
        cancelled_in = time.monotonic() - began
        during = await load.submit_many(5)
        watching += [asyncio.create_task(api.watch(job_id)) for job_id in during]
        watched = await asyncio.gather(*watching)
        await network.become(Mode.PASS)
        after = await load.submit_many(3)
        await settled(database, after)

        kept = await assert_kept(api, database, load.accepted, ledger)
        for job_id, frames in zip([*before, *during], watched, strict=True):
            assert [frame for frame in frames if "seq" in frame] == await api.events(job_id)
            assert frames[-1] == {"type": "end", "state": "succeeded"}

    assert {job.state for job_id, job in kept.items() if job_id != doomed} == {"succeeded"}
    assert kept[doomed].state == "cancelled"
    assert cancelled_in < CANCEL_SECONDS + STALL_SECONDS
    assert_in_time([job.start_wait for job in kept.values()], LATE_SECONDS)


@pytest.mark.slow
async def test_a_silent_database_connection_costs_a_worker_no_lease(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    patient = msgspec.structs.replace(faulty, lease_seconds=6)
    async with (
        proxied(str(faulty.database_url)) as (network, through),
        serving(patient) as api,
        processes.worker(msgspec.structs.replace(patient, database_url=through)),
        working(patient, queues=("elsewhere",)),
    ):
        load = Load(api.http, ledger, hold_seconds=8)
        for job_id in await load.submit_many(3):
            await running_in(database, job_id, "carry[1]")
        # The open connections are dead; new connections can be opened at once.
        await network.become(Mode.HALF_OPEN)
        await network.become(Mode.PASS)
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
