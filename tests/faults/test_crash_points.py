"""A worker or an API is killed at the worst moment: the job ends, and no finished step runs again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from msgspec import Struct

from faults import crashing, processes
from faults.checker import assert_kept
from faults.form import by_form
from faults.load import Load
from faults.records import JobRecord
from faults.settling import settled, warm_processes
from headrace.adapters.database import StatementPool
from headrace.domain.database import DatabaseBusyError
from headrace.settings import Settings
from headrace.workers import pools
from support.harness import TLS, Api, serving, working
from support.patience import PATIENCE_SECONDS, STALL_SECONDS, until_async

LATE_SECONDS = 2.0


def silences(job: JobRecord) -> list[float]:
    """Return, for each loss, the seconds from the last event of the attempt to the next start."""
    last, seconds = 0.0, []
    for before, event in zip(job.events, job.events[1:], strict=False):
        if event.type == "attempt.lost":
            last = before.at
        elif event.type == "job.started" and last:
            seconds.append(event.at - last)
            last = 0.0
    return seconds


def assert_taken_over_in_time(jobs: dict[str, JobRecord], settings: Settings) -> None:
    waited = [seconds for job in jobs.values() for seconds in silences(job)]
    assert max(waited, default=0.0) < settings.lease_seconds + LATE_SECONDS + STALL_SECONDS


@pytest.mark.parametrize(
    "point", ["after_claim", "before_checkpoint", "after_checkpoint", "before_finish", "after_finish"]
)
@pytest.mark.parametrize("passage", by_form([1], [1, 3]))
async def test_the_jobs_of_a_worker_killed_at_any_point_are_taken_over(
    faulty: Settings, database: StatementPool, ledger: Path, point: str, passage: int
) -> None:
    async with serving(faulty) as api:
        load = Load(api.http, ledger)
        crashing_command = crashing.command(point, passage)
        async with processes.worker(faulty, "--concurrency", "3", command=crashing_command) as doomed:
            await load.submit_many(9)
            assert await doomed.wait() == -signal.SIGKILL
            async with working(faulty):
                await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {job.state for job in kept.values()} == {"succeeded"}
    assert point == "after_finish" or sum(job.lost_attempts for job in kept.values()) > 0
    assert_taken_over_in_time(kept, faulty)


@pytest.mark.parametrize(
    ("pipeline", "run"),
    [("relay", "begin"), ("relay", "carry[1]"), ("relay", "finish"), ("relay_apart", "carry_apart")],
)
async def test_a_job_whose_step_kills_its_worker_resumes_at_that_step(
    faulty: Settings, database: StatementPool, ledger: Path, pipeline: str, run: str
) -> None:
    async with serving(faulty) as api:
        load = Load(api.http, ledger)
        async with processes.worker(faulty) as doomed:
            if pipeline == "relay_apart":
                await warm_processes(api, database, ledger)
            await load.submit_many(1, pipeline=pipeline, dies_in=run)
            assert await doomed.wait() == -signal.SIGKILL
            async with working(faulty):
                await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    (job,) = kept.values()
    # On a busy machine the next worker's processes start so slowly that it hands the job back meanwhile.
    handed_back = [event.body["reason"] for event in job.of_type("job.requeued")].count("handed_back")
    assert (job.state, job.attempt, job.lost_attempts) == ("succeeded", 2 + handed_back, 1)
    assert [entry.attempt for entry in job.entries if entry.run == run] == [1, job.attempt]
    assert_taken_over_in_time(kept, faulty)


@pytest.mark.parametrize("point", ["after_claim", "after_checkpoint", "after_finish"])
async def test_a_lost_database_response_does_not_count_as_a_loss(
    patient: Settings, database: StatementPool, ledger: Path, point: str
) -> None:
    async with (
        serving(patient) as api,
        processes.worker(patient, command=crashing.command(point, breaks="lose")) as worker,
    ):
        load = Load(api.http, ledger)
        await load.submit_many(5)
        await settled(database, load.accepted)
        await worker.wait_for_output("breaks: lose")

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
    assert point == "after_claim" or {job.attempt for job in kept.values()} == {1}


async def test_a_job_starts_in_time_after_its_api_is_killed_before_the_ring(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    async with (
        processes.worker(faulty),
        processes.api(faulty, command=crashing.command("before_ring")) as (doomed, address),
        httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, verify=TLS) as client,
    ):
        load = Load(client, ledger)
        assert await load.submit() is None
        assert await doomed.wait() == -signal.SIGKILL
        stored = [str(row["id"]) for row in await database.fetch("SELECT id FROM jobs")]
        await settled(database, stored)

    async with serving(faulty) as api:
        (job,) = (await assert_kept(api, database, stored, ledger)).values()
    assert job.state == "succeeded"
    assert job.start_wait < LATE_SECONDS + STALL_SECONDS


class FreezingApi(Struct):
    """An API process that stops itself while it locks a job, and a client of it."""

    process: processes.LoggedProcess
    client: httpx.AsyncClient


@asynccontextmanager
async def freezing_api(settings: Settings, breaks: crashing.BreakMode) -> AsyncIterator[FreezingApi]:
    command = crashing.command("holding_a_job", breaks=breaks)
    async with (
        processes.api(settings, command=command) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, verify=TLS) as client,
    ):
        yield FreezingApi(process, client)


async def submit_talking(api: Api) -> str:
    """Submit a job that writes all the time until it is cancelled; return its id once it does."""
    job_id = str((await api.submit("talking", params={"lines": 10_000, "seconds": 600}))["id"])

    async def has_written() -> bool:
        return "log" in {event["type"] for event in await api.events(job_id)}

    await until_async(has_written)
    return job_id


@pytest.fixture
def locking(patient: Settings) -> Settings:
    """Settings whose lease outlasts every lock of these tests."""
    return msgspec.structs.replace(patient, lease_seconds=600)


async def test_an_api_frozen_while_it_locks_a_job_does_not_stall_other_jobs(
    locking: Settings, database: StatementPool, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A statement that waits for the lock waits for longer than this test.
    monkeypatch.setattr(pools, "_STATEMENT_SECONDS", 600.0)
    async with serving(locking) as api, working(locking), freezing_api(locking, "hold") as frozen:
        load = Load(api.http, ledger)
        held = await submit_talking(api)
        cancelling = asyncio.create_task(frozen.client.post(f"/api/v1/jobs/{held}/cancel"))
        await frozen.process.wait_for_output("breaks: hold")
        await settled(database, await load.submit_many(10))
        with pytest.raises(DatabaseBusyError):
            await database.fetch("SELECT FROM jobs WHERE id = $1::uuid FOR UPDATE NOWAIT", held)
        frozen.process.send(signal.SIGCONT)

        assert (await cancelling).status_code == 202
        await settled(database, [held])
        kept = await assert_kept(api, database, [held, *load.accepted], ledger)

    assert kept.pop(held).state == "cancelled"
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}


async def test_postgresql_takes_the_lock_from_a_frozen_api(
    locking: Settings, database: StatementPool, ledger: Path
) -> None:
    async with serving(locking) as api, processes.worker(locking), freezing_api(locking, "stop") as frozen:
        held = await submit_talking(api)
        cancelling = asyncio.create_task(frozen.client.post(f"/api/v1/jobs/{held}/cancel"))
        await frozen.process.wait_for_output("breaks: stop")

        async def is_cancelled() -> bool:
            return (await api.http.post(f"/api/v1/jobs/{held}/cancel")).is_success

        await until_async(is_cancelled)
        await settled(database, [held])
        frozen.process.send(signal.SIGCONT)

        assert (await cancelling).status_code in (409, 503)
        kept = await assert_kept(api, database, [held], ledger)

    assert (kept[held].state, kept[held].lost_attempts) == ("cancelled", 0)
