"""Jobs that harm their worker fail with a code that says why, and their neighbours still succeed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.load import Load
from faults.records import JobRecord
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving

POISONS = {
    ("raising", "raises"): ("step_failed", 3),
    ("odd_output", "unserialisable"): ("output_invalid", 1),
    ("odd_output", "huge"): ("output_too_large", 1),
    ("misbehaving", "exits"): ("process_died", 2),
    ("misbehaving", "eats_memory"): ("step_failed", 2),
    ("turning", "never_yields"): ("step_timeout", 1),
    ("misbehaving", "unserialisable"): ("output_invalid", 1),
    ("misbehaving", "huge"): ("output_too_large", 1),
}


@asynccontextmanager
async def with_neighbours(
    api: Api, database: StatementPool, ledger: Path, *, losses: bool = False
) -> AsyncIterator[dict[str, JobRecord]]:
    """Run other jobs while the block runs. They use up no try, and are lost only if *losses* allows it."""
    load = Load(api.http, ledger, hold_seconds=0.1)
    kept: dict[str, JobRecord] = {}
    async with load.running():
        await load.until_more(5)
        yield kept
        await load.until_more(5)
    await settled(database, load.accepted)
    kept |= await assert_kept(api, database, load.accepted, ledger)
    for job in kept.values():
        assert job.state == "succeeded"
        assert [step.tries for step in job.steps if step.tries] == []
        assert losses or (job.attempt, job.lost_attempts) == (1, 0)


@pytest.mark.parametrize(("poison", "expected"), POISONS.items(), ids=lambda value: "-".join(map(str, value)))
async def test_a_poison_job_fails_with_a_code_and_its_neighbours_succeed(
    faulty: Settings,
    database: StatementPool,
    ledger: Path,
    poison: tuple[str, str],
    expected: tuple[str, int],
) -> None:
    pipeline, case = poison
    async with serving(faulty) as api, processes.worker(faulty) as worker:
        async with with_neighbours(api, database, ledger):
            job = await api.submit(pipeline, params={"case": case})
            done = await api.finish(job["id"])

        assert worker.process.returncode is None
        (kept,) = (await assert_kept(api, database, [job["id"]])).values()
    assert (done["state"], done["error"]["code"]) == ("failed", expected[0]), done["error"]
    assert kept.losses == 0
    assert len(kept.of_type("step.failed")) == expected[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_job_that_blocks_every_event_loop_fails_and_its_neighbours_succeed(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    # A worker can blame a job only while it still holds its lease.
    patient = msgspec.structs.replace(faulty, lease_seconds=30)
    async with (
        serving(patient) as api,
        processes.supervised(patient) as first,
        processes.supervised(patient) as second,
    ):
        async with with_neighbours(api, database, ledger, losses=True) as neighbours:
            job = await api.submit("blocking", params={"case": ""})
            await settled(database, [job["id"]], seconds=150)

        (kept,) = (await assert_kept(api, database, [job["id"]])).values()
        # Each worker process was replaced.
        assert len(first.children()) == len(second.children()) == 1
        after = await api.submit("noop")
        assert (await api.finish(after["id"]))["state"] == "succeeded"
    assert (kept.state, kept.losses) == ("failed", 5)
    assert kept.of_type("job.failed")[-1].body["error"]["code"] == "lost_too_often"
    # Only the blocking job is blamed. From its third attempt on it ran in a process of its own.
    assert max(job.losses for job in neighbours.values()) == 0
    assert max(job.lost_attempts for job in neighbours.values()) <= 2
