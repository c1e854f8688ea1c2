"""A job that signals its worker stops neither the worker nor the jobs beside it; the worker's parent does."""

import signal
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.records import read_records
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "signal_flows.py"


@pytest.fixture
def signalling(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=60, grace_seconds=1)


@pytest.mark.parametrize("pipeline", ["signalling_loop", "signalling_thread"])
async def test_a_job_cannot_stop_its_worker_by_a_signal(
    signalling: Settings, database: StatementPool, tmp_path: Path, pipeline: str
) -> None:
    async with serving(signalling) as api, processes.supervised(signalling) as parent:
        neighbour = (await api.submit("neighbour", params={"folder": str(tmp_path)}))["id"]
        await until((tmp_path / "entered").exists)
        for way in ("sigterm", "sigint", "interrupts", "group", "child"):
            job = await api.submit(pipeline, params={"way": way})
            done = await api.finish(job["id"])
            assert (done["state"], done["result"]) == ("succeeded", 1), way
        assert "signal_ignored" in parent.output
        assert "worker_stopping" not in parent.output

        parent.send(signal.SIGTERM)
        assert await parent.wait() == 0
        left = (await read_records(database, [neighbour]))[neighbour]

    assert (left.state, left.attempt, left.lost_attempts) == ("queued", 1, 0)
    assert left.of_type("job.requeued")[-1].body["reason"] == "handed_back"


async def test_a_suspect_cannot_stop_its_worker_either(signalling: Settings, database: StatementPool) -> None:
    async with serving(signalling) as api, processes.supervised(signalling) as parent:
        job = await api.submit("signalling_loop", params={"way": "sigterm"}, run_at="2099-01-01T00:00:00Z")
        await database.fetch(
            "UPDATE jobs SET losses = 2, run_at = now(), due_order = now() - priority * interval '60 s'"
        )
        done = await api.finish(job["id"])
        output = parent.output

    assert (done["state"], done["result"]) == ("succeeded", 1)
    assert "running_alone" in output


async def test_a_worker_obeys_when_its_supervisor_has_ended(signalling: Settings, tmp_path: Path) -> None:
    async with serving(signalling) as api, processes.supervised(signalling) as parent:
        await api.submit("neighbour", params={"folder": str(tmp_path)})
        await until((tmp_path / "entered").exists)
        worker = parent.child()
        parent.process.kill()
        await until(lambda: not worker.is_alive())

        await parent.wait_for_output("worker_stopped")
