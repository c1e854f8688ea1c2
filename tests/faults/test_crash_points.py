"""A worker or an API is killed at the worst moment: the job ends, and no finished step runs again."""

import asyncio
import signal
from pathlib import Path

import httpx
import msgspec
import pytest

from faults import crashing, processes
from faults.checker import assert_kept
from faults.form import by_form
from faults.load import Load
from faults.records import JobRecord
from faults.settling import settled, warm_processes
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import TLS, serving, working

LATE_SECONDS = 2.0
SLACK_SECONDS = 2.0


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
    assert max(waited, default=0.0) < settings.lease_seconds + LATE_SECONDS + SLACK_SECONDS


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
    assert (job.state, job.attempt, job.lost_attempts) == ("succeeded", 2, 1)
    assert [entry.attempt for entry in job.entries if entry.run == run] == [1, 2]
    assert_taken_over_in_time(kept, faulty)


@pytest.mark.parametrize("point", ["after_claim", "after_checkpoint", "after_finish"])
async def test_a_lost_database_response_does_not_count_as_a_loss(
    faulty: Settings, database: StatementPool, ledger: Path, point: str
) -> None:
    async with (
        serving(faulty) as api,
        processes.worker(faulty, command=crashing.command(point, breaks="lose")) as worker,
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
        httpx.AsyncClient(base_url=address, verify=TLS) as client,
    ):
        load = Load(client, ledger)
        assert await load.submit() is None
        assert await doomed.wait() == -signal.SIGKILL
        stored = [str(row["id"]) for row in await database.fetch("SELECT id FROM jobs")]
        await settled(database, stored)

    async with serving(faulty) as api:
        (job,) = (await assert_kept(api, database, stored, ledger)).values()
    assert job.state == "succeeded"
    assert job.start_wait < LATE_SECONDS + SLACK_SECONDS


async def test_an_api_frozen_while_it_locks_a_job_does_not_stall_other_jobs(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    # The lease is longer than the time limit of idle transactions, as by default.
    patient = msgspec.structs.replace(faulty, lease_seconds=15)
    async with (
        serving(patient) as api,
        processes.worker(patient),
        processes.api(patient, command=crashing.command("holding_a_job", breaks="stop")) as (frozen, address),
        httpx.AsyncClient(base_url=address, timeout=60, verify=TLS) as client,
    ):
        load = Load(api.http, ledger)
        (held,) = await load.submit_many(1, hold_seconds=0.5)
        cancelling = asyncio.create_task(client.post(f"/api/v1/jobs/{held}/cancel"))
        await frozen.wait_for_output("breaks: stop")
        neighbours = await load.submit_many(10)
        async with asyncio.timeout(4):
            await settled(database, neighbours)
        async with asyncio.timeout(5 + SLACK_SECONDS * 2):
            await settled(database, [held])
        frozen.send(signal.SIGCONT)

        assert (await cancelling).status_code in (409, 503)
        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
