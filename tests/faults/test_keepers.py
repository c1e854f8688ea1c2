"""What a step has started ends, even if its keeper is killed or the worker's supervisor has the id 1."""

import shutil
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.processes import LoggedProcess
from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "process_flows.py"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
CAN_UNSHARE = (
    shutil.which("unshare") is not None
    and not subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode
)


@pytest.fixture
def apart(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=60, stop_seconds=8)


def keepers(worker: Process) -> list[Process]:
    """Return the processes that the fork server of a worker has started."""
    children = processes.children_of(worker.pid)
    (server,) = [process for process in children if "child.server" in process.command()]
    return processes.children_of(server.pid)


def sleeping(parent: LoggedProcess) -> list[Process]:
    """Return the processes below *parent* that a step has started."""
    return [each for each in processes.family(parent.process.pid) if each.command() == "sleep 600"]


@pytest.mark.parametrize("starts_threads", [False, True], ids=["loaded once", "loaded by each step"])
async def test_what_a_step_started_ends_if_its_keeper_is_killed(
    apart: Settings, tmp_path: Path, starts_threads: bool
) -> None:
    source = tmp_path / "kept_flow.py"
    source.write_text((THREAD if starts_threads else "") + FLOWS.read_text())
    kept = msgspec.structs.replace(apart, pipelines=(str(source),))
    note = tmp_path / "note"
    async with serving(kept) as api, processes.supervised(kept) as parent:
        job = await api.submit("leaving", params={"note": str(note), "case": "waits"})
        await until(note.exists)
        left = [process for pid in note.read_text().split() if (process := Process.from_pid(int(pid)))]
        (keeper,) = keepers(parent.child())
        keeper.send(signal.SIGKILL)
        done = await api.finish(job["id"])
        await until(lambda: not any(process.is_alive() for process in left))
        restarted = parent.output.count("worker_ready") > 1
        was_used = "fork_server_not_used" not in parent.output

    assert len(left) == 3
    assert (done["state"], done["error"]["code"]) == ("failed", "process_died")
    assert not restarted
    assert was_used is not starts_threads


@pytest.mark.skipif(not CAN_UNSHARE, reason="a namespace of process ids is not permitted here")
async def test_what_a_step_started_ends_if_the_supervisor_has_the_id_1(
    apart: Settings, tmp_path: Path
) -> None:
    command = (*NAMESPACE, *processes.HEADRACE)
    async with serving(apart) as api, processes.supervised(apart, command=command) as parent:
        supervisor = parent.child()
        finished = {"note": str(tmp_path / "finished"), "case": "succeeds"}
        done = await api.finish((await api.submit("leaving", params=finished))["id"])
        await until(lambda: not sleeping(parent))
        note = tmp_path / "note"
        await api.submit("leaving", params={"note": str(note), "case": "waits"})
        await until(lambda: len(sleeping(parent)) == 3)
        (tmp_path / "stop").touch()  # later attempts start nothing
        (worker,) = processes.children_of(supervisor.pid)
        worker.send(signal.SIGKILL)
        await until(lambda: not sleeping(parent))
        await parent.wait_for_output("worker_ready", times=2)
        zombies = processes.zombies_below(supervisor.pid)

    assert done["state"] == "succeeded"
    assert zombies == []
