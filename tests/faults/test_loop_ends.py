"""A step that stops or leaves the event loop of its worker, or cancels its tasks, harms nobody else."""

from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.records import read_records
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "loop_flows.py"
WAYS = [
    "stops",
    "stops_from_a_thread",
    "exits_in_a_task",
    "interrupts_in_a_task",
    "exits_in_a_callback",
    "exits_in_a_timer",
    "exits_in_a_done_callback",
    "cancels_all",
]


@pytest.fixture
def ending(settings: Settings) -> Settings:
    """The lease is long: a rescue that waits for it takes longer than these tests."""
    return msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=600)


async def test_a_step_cannot_end_the_event_loop(ending: Settings, tmp_path: Path) -> None:
    async with serving(ending) as api, processes.supervised(ending) as parent:
        neighbour = (await api.submit("neighbour", params={"folder": str(tmp_path)}))["id"]
        await until((tmp_path / "entered").exists)
        worker = parent.child()
        for way in WAYS:
            job = await api.submit("ending", params={"way": way})
            done = await api.finish(job["id"])
            assert (done["state"], done["result"]) == ("succeeded", 1), (way, parent.output)
        job = await api.submit("ending", params={"way": "raises_an_error_that_exits"})
        left = await api.finish(job["id"])
        (tmp_path / "go").touch()
        kept = await api.finish(neighbour)

        assert parent.child().pid == worker.pid
    assert (left["state"], left["error"]["message"]) == ("failed", "LeavingError: (its text cannot be had)")
    assert (kept["state"], kept["result"]) == ("succeeded", 1)


async def test_a_worker_whose_own_tasks_were_cancelled_is_succeeded_at_once(
    ending: Settings, database: StatementPool, tmp_path: Path
) -> None:
    async with serving(ending) as api, processes.supervised(ending):
        neighbour = (await api.submit("neighbour", params={"folder": str(tmp_path)}))["id"]
        await until((tmp_path / "entered").exists)
        job = (await api.submit("ending", params={"way": "cancels_all_in_a_callback"}))["id"]
        done = await api.finish(job)
        (tmp_path / "go").touch()
        kept = await api.finish(neighbour)
        records = await read_records(database, [job, neighbour])

    assert (done["result"], kept["result"]) == (2, 2)
    assert [records[job_id].losses for job_id in (job, neighbour)] == [1, 0]
