"""A worker claims what it can begin: jobs that wait for a process slot wait in the queue."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS, until_async

FLOWS = Path(__file__).parent / "flows" / "slot_flows.py"


@pytest.fixture
def slots(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, pipelines=(str(FLOWS),), worker_processes=1, lease_seconds=60)


async def states(api: Api) -> list[tuple[str, str | None]]:
    jobs = (await api.http.get("/api/v1/jobs?limit=100")).json()["items"]
    return sorted((job["state"], job["waiting_for"]) for job in jobs)


async def until_running(api: Api, count: int) -> None:
    async def are_running() -> bool:
        return [state for state, _ in await states(api)].count("running") == count

    await until_async(are_running)


async def test_jobs_without_a_slot_wait_in_the_queue_and_another_worker_takes_its_share(
    slots: Settings, database: StatementPool
) -> None:
    async with serving(slots) as api, working(slots):
        # Long enough for the second worker to load its modules, before which it claims none.
        jobs = [await api.submit("process_first", params={"seconds": 6}) for _ in range(4)]
        await until_running(api, 1)
        with_one = await states(api)
        async with working(slots):
            await until_running(api, 2)
            with_two = await states(api)
            done = [await api.finish(job["id"]) for job in jobs]
    workers = {row["worker"] for row in await database.fetch(_WORKERS)}

    assert with_one == [("queued", "process_slots_busy")] * 3 + [("running", None)]
    assert with_two == [("queued", "process_slots_busy")] * 2 + [("running", None)] * 2
    assert {(job["state"], job["attempt"]) for job in done} == {("succeeded", 1)}
    assert len(workers) == 2


_WORKERS = "SELECT body->>'worker' AS worker FROM job_events WHERE type = 'job.started'"


async def test_other_jobs_do_not_wait_behind_jobs_without_a_slot(slots: Settings) -> None:
    async with serving(slots) as api, working(slots, concurrency=3):
        blocked = [await api.submit("process_first", params={"seconds": 600}) for _ in range(10)]
        await until_running(api, 1)
        quick = await api.finish((await api.submit("noop"))["id"])
        for job in blocked:
            await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")

    assert quick["state"] == "succeeded"


async def test_a_job_whose_later_step_finds_no_slot_goes_back_to_the_queue_until_one_is_free(
    slots: Settings,
) -> None:
    async with serving(slots) as api, working(slots):
        first = await api.submit("process_first", params={"seconds": 4})
        await until_running(api, 1)
        later = await api.submit("process_later", params={"seconds": 0})

        async def is_handed_back() -> bool:
            job = await api.job(later["id"])
            return (job["state"], job["waiting_for"], job["attempt"]) == ("queued", "process_slots_busy", 1)

        await until_async(is_handed_back)
        jobs = [await api.finish(job["id"]) for job in (first, later)]

    assert [(job["state"], job["attempt"]) for job in jobs] == [("succeeded", 1), ("succeeded", 2)]


async def test_the_items_of_a_job_share_the_slots_of_its_worker(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        done = await api.finish(
            (await api.submit("process_items", params={"items": 8, "seconds": 0.4}))["id"]
        )

    assert (done["state"], done["result"], done["attempt"]) == ("succeeded", list(range(8)), 1)


async def test_a_chain_of_short_steps_is_not_handed_back(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        done = await api.finish((await api.submit("chain", params={"seconds": 0.4}))["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 1)


@pytest.mark.parametrize("runs_in", ["process", "thread"])
async def test_the_items_of_one_job_do_not_keep_another_job_waiting(slots: Settings, runs_in: str) -> None:
    two_slots = msgspec.structs.replace(slots, worker_processes=2)
    async with serving(two_slots) as api, working(two_slots, concurrency=2):
        wide = await api.submit(f"{runs_in}_items", params={"items": 20, "seconds": 0.3})
        await until_running(api, 1)
        other = await api.submit(f"{runs_in}_items", params={"items": 1, "seconds": 0})
        done = [await api.finish(job["id"]) for job in (wide, other)]

    assert {(job["state"], job["attempt"]) for job in done} == {("succeeded", 1)}
    assert done[1]["finished_at"] < done[0]["finished_at"]


async def test_a_job_keeps_its_slot_from_step_to_step_although_others_wait(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        wide = await api.submit("process_items", params={"items": 3, "seconds": 0.4})
        in_steps = await api.submit("chain", params={"seconds": 0.2})
        others = [await api.submit("process_first", params={"seconds": 1.5}) for _ in range(2)]
        done = [await api.finish(job["id"]) for job in (wide, in_steps, *others)]

    assert {(job["state"], job["attempt"]) for job in done} == {("succeeded", 1)}
    assert [job["id"] for job in sorted(done, key=lambda job: job["finished_at"])] == [
        job["id"] for job in (wide, in_steps, *others)
    ]


async def test_jobs_that_begin_with_items_keep_the_slots_of_their_claims(slots: Settings) -> None:
    two_slots = msgspec.structs.replace(slots, worker_processes=2)
    async with serving(two_slots) as api, working(two_slots):
        jobs = [await api.submit("process_items", params={"items": 3, "seconds": 1.2}) for _ in range(2)]
        done = [await api.finish(job["id"]) for job in jobs]

    assert {(job["state"], job["attempt"]) for job in done} == {("succeeded", 1)}


async def test_a_cancelled_job_gives_its_reserved_slot_back(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        first = await api.submit("process_first", params={"seconds": 600})
        second = await api.submit("process_first", params={"seconds": 0})
        await until_running(api, 1)
        await api.http.post(f"/api/v1/jobs/{first['id']}/cancel")
        done = await asyncio.wait_for(api.finish(second["id"]), PATIENCE_SECONDS)

    assert done["state"] == "succeeded"


async def test_the_time_limit_of_a_job_does_not_run_while_it_waits_for_a_retry(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        done = await api.finish((await api.submit("retried_late", timeout_seconds=2))["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 2), done["error"]


async def test_the_time_limit_of_a_job_does_not_run_while_its_attempt_waits_for_a_slot(
    slots: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits in the worker, and is not handed back.
    monkeypatch.setattr("headrace.workers.attempt.graph_runner._MAX_IDLE_SECONDS", 60.0)
    async with serving(slots) as api, working(slots):
        first = await api.submit("process_first", params={"seconds": 8})
        await until_running(api, 1)
        job = await api.submit("process_later", params={"seconds": 0}, timeout_seconds=5)
        done = await api.finish(job["id"])
        before = await api.finish(first["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 1), done["error"]
    assert done["finished_at"] > before["finished_at"]


async def test_a_job_whose_last_step_ends_in_its_grace_time_succeeds(slots: Settings) -> None:
    async with serving(slots) as api, working(slots):
        job = await api.submit("process_first", params={"seconds": 3}, timeout_seconds=1.5)
        done = await api.finish(job["id"])

    assert (done["state"], done["result"]) == ("succeeded", None)


async def test_only_jobs_that_begin_in_a_process_are_marked(slots: Settings, database: StatementPool) -> None:
    async with serving(slots) as api:
        async with working(slots):
            pass
        run_at = {"run_at": "2099-01-01T00:00:00Z"}
        for pipeline in ("process_first", "process_later", "process_items", "noop"):
            await api.submit(pipeline, **run_at)
        rows: Any = await database.fetch("SELECT pipeline, needs_process FROM jobs")

    assert {row["pipeline"]: row["needs_process"] for row in rows} == {
        "process_first": True,
        "process_later": False,
        "process_items": True,
        "noop": False,
    }
