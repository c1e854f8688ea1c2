"""A worker ends within `stop_seconds` of SIGTERM and hands its jobs back."""

import signal
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.records import read_records
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "stubborn_flows.py"
PIPELINES = ("stubborn_loop", "stubborn_thread", "stubborn_calls", "stubborn_process")


@pytest.fixture
def stubborn(settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings, pipelines=(str(FLOWS),), lease_seconds=600, grace_seconds=20, stop_seconds=6
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which each step leaves a file when it is entered."""
    entered = tmp_path / "entered"
    entered.mkdir()
    return entered


async def submit_and_enter(api: Api, folder: Path, *pipelines: str) -> list[str]:
    """Submit a job of each pipeline, and wait until its step was entered."""
    params = {"folder": str(folder)}
    jobs = [(await api.submit(pipeline, params=params))["id"] for pipeline in pipelines]
    await until(lambda: {path.name for path in folder.iterdir()} >= set(pipelines))
    return jobs


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_steps_that_ignore_the_stop_are_handed_back_before_the_worker_is_killed(
    stubborn: Settings, database: StatementPool, folder: Path, *, is_cancelled: bool
) -> None:
    async with serving(stubborn) as api, processes.supervised(stubborn) as parent:
        jobs = await submit_and_enter(api, folder, *PIPELINES)
        if is_cancelled:
            # Their grace time of 10 s begins now, and the worker has less time than that.
            for job_id in jobs:
                await api.http.post(f"/api/v1/jobs/{job_id}/cancel")
            await until(lambda: {path.stem for path in folder.glob("*.stop")} == set(PIPELINES))
        parent.send(signal.SIGTERM)
        status = await parent.wait()
        output = parent.output
        kept = await read_records(database, jobs)

    assert status == 0
    assert "worker_killed" not in output
    for job in kept.values():
        assert (job.state, job.lost_attempts, job.losses) == ("cancelled" if is_cancelled else "queued", 0, 0)
        assert is_cancelled or job.of_type("job.requeued")[-1].body["reason"] == "handed_back"


async def test_a_step_that_holds_the_lock_does_not_keep_a_worker_from_stopping(
    stubborn: Settings, database: StatementPool, folder: Path
) -> None:
    async with serving(stubborn) as api, processes.supervised(stubborn) as parent:
        (job_id,) = await submit_and_enter(api, folder, "greedy")
        parent.send(signal.SIGTERM)
        status = await parent.wait()
        output = parent.output
        job = (await read_records(database, [job_id]))[job_id]

    assert status == 0
    assert "worker_killed" in output
    assert (job.state, job.losses) == ("running", 0)  # until the lease has run out


async def test_a_second_interrupt_ends_the_worker_at_once(
    stubborn: Settings, database: StatementPool, folder: Path
) -> None:
    patient = msgspec.structs.replace(stubborn, stop_seconds=600, grace_seconds=600)
    async with serving(patient) as api, processes.supervised(patient) as parent:
        await submit_and_enter(api, folder, "stubborn_loop")
        parent.send(signal.SIGINT)
        await parent.wait_for_output("worker_stopping")
        parent.send(signal.SIGINT)
        status = await parent.wait()

        assert "interrupted twice" in parent.output
    assert status == 0


async def test_a_second_sigterm_changes_nothing(
    stubborn: Settings, database: StatementPool, folder: Path
) -> None:
    async with serving(stubborn) as api, processes.supervised(stubborn) as parent:
        jobs = await submit_and_enter(api, folder, "stubborn_loop")
        for _ in range(3):
            parent.send(signal.SIGTERM)
        assert await parent.wait() == 0
        kept = await read_records(database, jobs)

    assert [(job.state, job.lost_attempts) for job in kept.values()] == [("queued", 0)]


async def test_a_suspect_is_handed_back_as_well(
    stubborn: Settings, database: StatementPool, folder: Path
) -> None:
    async with serving(stubborn) as api, processes.supervised(stubborn) as parent:
        job_id = (
            await api.submit("stubborn_loop", params={"folder": str(folder)}, run_at="2099-01-01T00:00:00Z")
        )["id"]
        await database.fetch(
            "UPDATE jobs SET losses = 2, run_at = now(), due_order = now() - priority * interval '60 s'"
        )
        await until((folder / "stubborn_loop").exists)
        parent.send(signal.SIGTERM)
        assert await parent.wait() == 0
        job = (await read_records(database, [job_id]))[job_id]

    assert (job.state, job.lost_attempts, job.losses) == ("queued", 0, 2)
    assert job.of_type("job.requeued")[-1].body["reason"] == "handed_back"


async def test_jobs_that_were_handed_back_go_on_in_the_next_worker(
    stubborn: Settings, database: StatementPool, folder: Path
) -> None:
    async with serving(stubborn) as api:
        async with processes.supervised(stubborn) as parent:
            jobs = await submit_and_enter(api, folder, *PIPELINES)
            parent.send(signal.SIGTERM)
            await parent.wait()
        (folder / "go").touch()
        async with processes.supervised(stubborn):
            await settled(database, jobs)
        kept = await assert_kept(api, database, jobs)

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 2)}


async def test_an_api_is_watched_and_leaves_no_process_behind(stubborn: Settings) -> None:
    async with processes.api(stubborn) as (api, _):
        (watcher,) = api.children()
        api.send(signal.SIGTERM)

        assert await api.wait() == 0
        await until(lambda: not watcher.is_alive())
