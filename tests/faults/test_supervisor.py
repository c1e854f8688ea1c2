"""The parent of `headrace worker` replaces a worker that dies or is blocked, and ends on SIGTERM."""

import signal
from pathlib import Path

import msgspec
import pytest

from faults import processes
from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

HOSTILE = Path(__file__).parents[1] / "journey" / "flows" / "hostile_flows.py"
BLOCKING = """
import time
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    marker: str

@step
async def block(context: StepContext[Params]) -> int:
    if context.attempt == 1:
        time.sleep(60)
    return context.attempt

blocking = Pipeline("blocking", version=1, params=Params)
blocking.add(block, result=True)
"""


async def test_a_killed_worker_is_replaced_and_the_parent_ends_on_sigterm(settings: Settings) -> None:
    async with processes.supervised(settings) as parent:
        parent.child().send(signal.SIGKILL)
        await parent.wait_for_output("worker_ready", times=2)
        parent.send(signal.SIGTERM)

        assert await parent.wait() == 0


async def test_a_worker_with_a_blocked_event_loop_is_replaced_and_its_job_succeeds(
    settings: Settings, tmp_path: Path
) -> None:
    flow = tmp_path / "blocking_flow.py"
    flow.write_text(BLOCKING)
    blocking = msgspec.structs.replace(settings, pipelines=(str(flow),))
    async with serving(blocking) as api, processes.supervised(blocking) as parent:
        job = await api.submit("blocking", params={"marker": ""})

        await parent.wait_for_output("the event loop is blocked")
        await parent.wait_for_output(" in block")
        done = await api.finish(job["id"])

    assert (done["state"], done["result"]) == ("succeeded", 2)


async def test_a_worker_ends_even_if_one_of_its_steps_never_does(settings: Settings) -> None:
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, processes.supervised(hostile) as parent:
        job = await api.submit("clinging")
        done = await api.finish(job["id"])
        worker = parent.child()

        parent.send(signal.SIGTERM)

        assert await parent.wait() == 0
        assert not worker.is_alive()
    assert done["error"]["code"] == "step_timeout"


async def test_a_worker_with_five_abandoned_steps_is_replaced(settings: Settings) -> None:
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, processes.supervised(hostile) as parent:
        jobs = [await api.submit("clinging") for _ in range(5)]
        for job in jobs:
            await api.finish(job["id"])

        await parent.wait_for_output("too_many_abandoned_steps")
        await parent.wait_for_output("worker_ready", times=2)
        after = await api.finish((await api.submit("noop"))["id"])

    assert after["state"] == "succeeded"


async def test_processes_that_a_step_started_end_with_their_killed_worker(
    settings: Settings, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, processes.supervised(hostile) as parent:
        await api.submit("starting", params={"case": str(note)})
        await until(lambda: note.exists() and note.read_text().endswith("\n"))
        started = [int(pid) for pid in note.read_text().split()]

        worker = parent.child()
        parent.process.kill()
        worker.send(signal.SIGKILL)

        await until(lambda: not any(Process.from_pid(pid) for pid in started))


async def test_the_scratch_folder_of_a_killed_worker_does_not_stay(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "folders"
    folders.mkdir()
    monkeypatch.setenv("TMPDIR", str(folders))
    async with processes.supervised(settings) as parent:
        of_the_supervisor_and_worker = set(folders.iterdir())
        parent.child().send(signal.SIGKILL)
        await parent.wait_for_output("abandoned_folders_removed")
        await parent.wait_for_output("worker_ready", times=2)
        after_a_kill = set(folders.iterdir())
        for _ in range(2):
            parent.send(signal.SIGINT)
        assert await parent.wait() == 0
    at_the_end = list(folders.iterdir())

    assert len(of_the_supervisor_and_worker) == len(after_a_kill) == 2
    assert len(of_the_supervisor_and_worker & after_a_kill) == 1
    assert at_the_end == []
