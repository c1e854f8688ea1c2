"""A worker that wakes up after its leases expired writes nothing for its old jobs, and takes new ones."""

import asyncio
import re
import signal
from pathlib import Path

import pytest

from faults import crashing, processes
from faults.checker import assert_kept
from faults.form import by_form
from faults.load import Load
from faults.settling import in_second_attempt, running_in, settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving, working


async def heads(api: Api, job_ids: list[str]) -> list[int]:
    return [(await api.job(job_id))["event_seq"] for job_id in job_ids]


def name_of(worker: processes.LoggedProcess) -> str:
    match = re.search(r"worker=(\S+)", worker.output)
    assert match
    return match[1]


async def wake_and_check(
    api: Api, zombie: processes.LoggedProcess, load: Load, database: StatementPool
) -> None:
    """Wake the zombie, and assert that it runs new jobs and does not change the old ones."""
    before = await heads(api, load.accepted)
    old = list(load.accepted)
    zombie.send(signal.SIGCONT)
    new = await load.submit_many(3, hold_seconds=0)
    await settled(database, new)

    assert await heads(api, old) == before
    for job_id in new:
        events = await api.events(job_id)
        assert {event["worker"] for event in events if event["type"] == "job.started"} == {name_of(zombie)}


async def test_a_worker_frozen_during_its_steps_changes_nothing_afterwards(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    async with serving(faulty) as api, processes.worker(faulty) as zombie:
        load = Load(api.http, ledger, hold_seconds=1.0)
        for job_id in await load.submit_many(5):
            await running_in(database, job_id, "carry[1]")
        zombie.send(signal.SIGSTOP)
        async with working(faulty):
            await settled(database, load.accepted)
        # This is longer than the watchdog's limit for a blocked loop: a stopped process is not a blocked one.
        await asyncio.sleep(by_form(0, 8))

        await wake_and_check(api, zombie, load, database)
        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 1), ("succeeded", 0)}


@pytest.mark.parametrize("point", ["after_claim", "before_checkpoint", "before_finish", "after_finish"])
async def test_a_worker_frozen_around_a_write_changes_nothing_afterwards(
    faulty: Settings, database: StatementPool, ledger: Path, point: str
) -> None:
    freezing = crashing.command(point, breaks="stop")
    async with serving(faulty) as api, processes.worker(faulty, command=freezing) as zombie:
        load = Load(api.http, ledger)
        await load.submit_many(3)
        await zombie.wait_for_output("breaks: stop")
        async with working(faulty):
            await settled(database, load.accepted)

        await wake_and_check(api, zombie, load, database)
        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {job.state for job in kept.values()} == {"succeeded"}
    assert max(job.losses for job in kept.values()) <= 1


@pytest.mark.parametrize("point", ["after_claim", "before_checkpoint", "before_finish"])
async def test_a_worker_that_wakes_while_another_runs_its_jobs_breaks_no_rule(
    faulty: Settings, database: StatementPool, ledger: Path, point: str
) -> None:
    freezing = crashing.command(point, breaks="stop")
    async with serving(faulty) as api, processes.worker(faulty, command=freezing) as zombie:
        load = Load(api.http, ledger, later_hold_seconds=1.0)
        await load.submit_many(3)
        await zombie.wait_for_output("breaks: stop")
        async with working(faulty):
            await in_second_attempt(database, load.accepted)
            zombie.send(signal.SIGCONT)
            await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {job.state for job in kept.values()} == {"succeeded"}
    assert {job.attempt for job in kept.values()} <= {1, 2}
