"""A job that ends its worker is blamed alone, and costs its neighbours no more than the time that it took."""

import signal
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.costs import cost_of
from faults.form import by_form
from faults.records import JobRecord, read_records
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.domain.jobs.claim_rules import MAX_LOSSES
from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving
from support.patience import until, until_async

FLOWS = Path(__file__).parent / "flows" / "harmful_flows.py"


@pytest.fixture
def harmful(settings: Settings) -> Settings:
    """The lease is long: a rescue that waits for it takes longer than these tests."""
    return msgspec.structs.replace(
        settings, pipelines=(str(FLOWS),), lease_seconds=600, grace_seconds=2, worker_processes=3
    )


async def submit_all(api: Api, pipeline: str, count: int, **params: object) -> list[str]:
    return [(await api.submit(pipeline, params=params))["id"] for _ in range(count)]


async def submit_before_neighbours(
    api: Api,
    folder: Path,
    pipeline: str,
    way: str,
    neighbours: dict[str, int],
    *,
    seconds: float,
    attempts: int = 0,
) -> tuple[str, list[str]]:
    """Submit a harmful job, and its neighbours once it runs; return their ids. It waits for them."""
    folder.mkdir()  # noqa: ASYNC240  (it is short)
    params = {
        "way": way,
        "folder": str(folder),
        "neighbours": sum(neighbours.values()),
        "attempts": attempts,
    }
    culprit = (await api.submit(pipeline, params=params))["id"]
    await until((folder / culprit).exists)
    ids = []
    for name, count in neighbours.items():
        ids += await submit_all(api, name, count, seconds=seconds, folder=str(folder))
    return culprit, ids


def was_blamed(job: JobRecord) -> list[bool]:
    return [event.body["blamed"] for event in job.of_type("attempt.lost")]


async def outcome(
    api: Api, database: StatementPool, culprit: str, neighbours: list[str]
) -> tuple[JobRecord, list[JobRecord]]:
    await settled(database, [culprit, *neighbours], seconds=150)
    kept = await assert_kept(api, database, [culprit, *neighbours])
    return kept.pop(culprit), list(kept.values())


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["blocks", "holds_the_lock", "kills", "exits"])
async def test_only_the_job_that_ends_its_workers_is_blamed(
    harmful: Settings, database: StatementPool, tmp_path: Path, way: str
) -> None:
    async with serving(harmful) as api, processes.supervised(harmful) as parent:
        culprit, neighbours = await submit_before_neighbours(
            api, tmp_path / way, "harmful", way, {"patient": 10}, seconds=3
        )
        job, others = await outcome(api, database, culprit, neighbours)
        output = parent.output

    assert (job.state, job.losses) == ("failed", 5)
    assert job.of_type("job.failed")[-1].body["error"]["code"] == "lost_too_often"
    assert {(other.state, other.losses) for other in others} == {("succeeded", 0)}
    # From its third attempt on the culprit runs alone, and nobody else does.
    cost = cost_of(others)
    assert (cost.lost <= 2, cost.overtaken, cost.side_by_side > 2) == (True, 0, True), cost
    alone = [line for line in output.splitlines() if "running_alone" in line]
    assert len(alone) == 3
    assert all(culprit in line for line in alone)
    if way in ("blocks", "holds_the_lock"):
        assert "the event loop is blocked for more than" in output
        assert " in end_process" in output  # its stack


@pytest.mark.parametrize(
    ("pipeline", "ways", "neighbours"),
    [
        ("harmful", ["blocks_in_a_task"], {"patient": 2}),
        ("harmful_thread", ["holds_the_lock"], {"patient": 1, "patient_thread": 2}),
        ("harmful", ["holds_the_lock_in_to_thread"], {"patient": 1, "patient_thread": 2}),
        ("harmful", ["kills_in_a_task", "exits_in_a_task"], {"patient": 1, "patient_thread": 2}),
        # Only the thread that began last can be named after an exit.
        ("harmful_thread", ["exits"], {"patient": 3}),
        ("harmful", ["raises", "leaves_a_task"], {"patient": 2}),
        ("harmful_thread", ["raises"], {"patient": 2}),
    ],
    ids=[
        "task_blocks",
        "thread_holds_the_lock",
        "to_thread_holds_the_lock",
        "task_ends",
        "thread_exits",
        "error_blocks",
        "error_of_a_thread_blocks",
    ],
)
async def test_a_step_is_blamed_although_its_neighbours_enter_after_it(
    harmful: Settings,
    database: StatementPool,
    tmp_path: Path,
    pipeline: str,
    ways: list[str],
    neighbours: dict[str, int],
) -> None:
    async with serving(harmful) as api, processes.supervised(harmful):
        for way in ways:
            culprit, others = await submit_before_neighbours(
                api, tmp_path / way, pipeline, way, neighbours, seconds=1, attempts=1
            )
            job, kept = await outcome(api, database, culprit, others)

            assert (job.state, job.attempt) == ("succeeded", 2)
            assert was_blamed(job) == [True]
            assert [was_blamed(other) for other in kept] == [[False]] * len(others)


async def test_the_job_that_hangs_is_blamed_beside_another_worker_although_modules_load_slowly(
    harmful: Settings, database: StatementPool, tmp_path: Path
) -> None:
    slow, mark = tmp_path / "slow_module.py", tmp_path / "is_slow"
    slow.write_text(f"import pathlib, time\nif pathlib.Path({str(mark)!r}).exists():\n    time.sleep(60)\n")
    settings = msgspec.structs.replace(
        harmful, pipelines=(str(slow), str(FLOWS)), lease_seconds=Settings().lease_seconds
    )
    async with serving(settings) as api, processes.supervised(settings), processes.supervised(settings):
        mark.touch()
        way = "holds_the_lock"
        culprit, neighbours = await submit_before_neighbours(
            api, tmp_path / way, "harmful", way, {"patient": 4}, seconds=1, attempts=1
        )
        job, others = await outcome(api, database, culprit, neighbours)

    assert was_blamed(job) == [True]
    assert {other.losses for other in others} == {0}


async def test_a_killed_worker_is_succeeded_at_once_and_its_jobs_go_on(
    harmful: Settings, database: StatementPool
) -> None:
    async with serving(harmful) as api, processes.supervised(harmful) as parent:
        jobs = await submit_all(api, "patient", 20, seconds=1)
        await _all_running(database, jobs)
        parent.child().send(signal.SIGKILL)
        await settled(database, jobs)
        kept = await assert_kept(api, database, jobs)

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 2)}
    assert sum(event.body["blamed"] for job in kept.values() for event in job.of_type("attempt.lost")) <= 1


@pytest.mark.slow
async def test_work_goes_on_side_by_side_after_everything_was_killed_five_times(
    harmful: Settings, database: StatementPool
) -> None:
    short = msgspec.structs.replace(harmful, lease_seconds=1.5, worker_concurrency=100)
    await register_pipelines(short)
    async with serving(short) as api:
        jobs = await submit_all(api, "patient", 100, seconds=1.5)
        for attempt in range(1, 6):
            async with processes.supervised(short) as parent:
                await _all_running(database, jobs, attempt)
                await parent.kill()
        async with processes.supervised(short) as parent:
            await settled(database, jobs)
            output = parent.output
        kept = await assert_kept(api, database, jobs)

    assert {(job.state, job.losses, job.lost_attempts) for job in kept.values()} == {("succeeded", 0, 5)}
    assert cost_of(list(kept.values())).side_by_side > 10
    assert "running_alone" not in output


async def test_a_job_of_ten_steps_succeeds_although_its_worker_dies_once_in_each_step(
    harmful: Settings, database: StatementPool, tmp_path: Path
) -> None:
    # One more than the losses that fail a job without progress.
    deaths = by_form(MAX_LOSSES + 1, 10)
    async with serving(harmful) as api, processes.supervised(harmful):
        params = {"folder": str(tmp_path), "deaths": deaths}
        job_id = (await api.submit("legs", params=params))["id"]
        await settled(database, [job_id])
        job = (await assert_kept(api, database, [job_id]))[job_id]

    assert (job.state, job.attempt, job.lost_attempts) == ("succeeded", deaths + 1, deaths)


@pytest.mark.parametrize("is_handed_back", [False, True])
async def test_a_step_that_must_not_run_twice_fails_its_job_when_its_attempt_is_lost_or_handed_back(
    harmful: Settings, database: StatementPool, tmp_path: Path, *, is_handed_back: bool
) -> None:
    ledger = tmp_path / "ledger"
    async with serving(harmful) as api:
        async with processes.supervised(harmful) as parent:
            job_id = (await api.submit("precious", params={"ledger": str(ledger)}))["id"]
            await until(ledger.exists)
            if is_handed_back:
                parent.send(signal.SIGTERM)
                await parent.wait()
            else:
                parent.child().send(signal.SIGKILL)
                await settled(database, [job_id])
        if is_handed_back:
            async with processes.supervised(harmful):
                await settled(database, [job_id])
        job = (await read_records(database, [job_id]))[job_id]

    assert ledger.read_text() == "entered\n"
    assert job.state == "failed"
    assert job.of_type("job.failed")[-1].body["error"]["code"] == "step_lost"
    assert [step.state for step in job.steps] == ["failed"]


async def _all_running(database: StatementPool, jobs: list[str], attempt: int = 1) -> None:
    async def are_running() -> bool:
        rows = await database.fetch(
            "SELECT count(*) AS count FROM jobs WHERE state = 'running' AND attempt = $1", attempt
        )
        return bool(rows[0]["count"] == len(jobs))

    await until_async(are_running)
