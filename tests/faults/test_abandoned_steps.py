"""A worker with many abandoned threads claims nothing, costs its other jobs nothing, and recovers."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.records import read_records
from faults.test_stopping import FLOWS, submit_and_enter
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving


@pytest.fixture
def stubborn(settings: Settings) -> Settings:
    """The grace time is short: a job that is stopped with the worker would be handed back at once."""
    return msgspec.structs.replace(
        settings, pipelines=(str(FLOWS),), lease_seconds=60, grace_seconds=0, stop_seconds=3
    )


@pytest.mark.parametrize("threads_end", [False, True])
async def test_abandoned_threads_cost_the_neighbours_nothing(
    stubborn: Settings, database: StatementPool, tmp_path: Path, *, threads_end: bool
) -> None:
    async with serving(stubborn) as api, processes.supervised(stubborn) as parent:
        (neighbour,) = await submit_and_enter(api, tmp_path, "stubborn_loop")
        hung = await api.finish((await api.submit("abandoned", params={"folder": str(tmp_path)}))["id"])
        await parent.wait_for_output("too_many_abandoned_steps")
        later = (await api.submit("noop"))["id"]
        if threads_end:
            (tmp_path / "threads_end").touch()
            await api.finish(later)
            claimed_beside_the_neighbour = (await api.job(neighbour))["state"] == "running"
        else:
            await asyncio.sleep(6)  # twice as long as a worker takes to stop
            waiting = await api.job(later)
        (tmp_path / "go").touch()
        kept = await api.finish(neighbour)
        after = await api.finish(later)
        await api.finish((await api.submit("noop"))["id"])
        starts = parent.output.count("worker_ready")
        record = (await read_records(database, [neighbour]))[neighbour]

    assert hung["error"]["code"] == "step_timeout"
    assert (kept["state"], kept["attempt"], record.lost_attempts) == ("succeeded", 1, 0)
    assert (after["state"], after["attempt"]) == ("succeeded", 1)
    if threads_end:
        assert (claimed_beside_the_neighbour, starts) == (True, 1)
    else:
        assert (waiting["state"], starts) == ("queued", 2)
