"""A process that a step forks from the worker harms neither the worker nor the jobs beside it."""

from pathlib import Path

import msgspec
import pytest

from faults import processes
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "fork_flows.py"
SQUARES = [1, 4, 9]
IN_BOTH = {
    "fork": SQUARES,
    "executor": SQUARES,
    "loops": SQUARES,
    "terminates": [-15] * 5,
    "returns": 0,
    "raises": 1,
    "exits": 3,
}
# `spawn` and `forkserver` import the modules in new processes, for longer than a loop may be blocked.
IN_A_THREAD = IN_BOTH | {"spawn": SQUARES, "forkserver": SQUARES, "uses_the_context": 1}


@pytest.mark.parametrize(
    ("pipeline", "results"),
    [("forking_thread", IN_A_THREAD), ("forking_loop", IN_BOTH), ("fork_waits", {"": 1})],
    ids=["thread", "loop", "loop that waits"],
)
async def test_steps_may_fork_the_worker(
    settings: Settings, tmp_path: Path, pipeline: str, results: dict[str, object]
) -> None:
    forking = msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=60)
    async with serving(forking) as api, processes.supervised(forking) as parent:
        neighbour = (await api.submit("neighbour", params={"folder": str(tmp_path)}))["id"]
        await until((tmp_path / "entered").exists)
        worker = parent.child()
        seen = {}
        for way in results:
            job = await api.submit(pipeline, params={"way": way})
            done = await api.finish(job["id"])
            seen[way] = done["result"] if done["state"] == "succeeded" else done["error"]
        (tmp_path / "go").touch()
        kept = await api.finish(neighbour)
        output = parent.output

        assert parent.child().pid == worker.pid
    assert seen == results, output
    assert kept["result"] == 1
    assert "worker_stopping" not in output
