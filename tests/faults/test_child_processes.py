"""The process of a step is the worker's world, and leaves nothing behind however it ends."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faults import processes
from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import Api, serving
from support.patience import until

FLOWS = Path(__file__).parent / "flows" / "process_flows.py"


@pytest.fixture
def apart(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, pipelines=(str(FLOWS),), lease_seconds=60, stop_seconds=8)


async def enter(api: Api, note: Path, case: str) -> tuple[str, list[Process]]:
    """Submit a job whose step starts processes; return its id and the processes, once they run."""
    job = await api.submit("leaving", params={"note": str(note), "case": case})
    await until(note.exists)
    return job["id"], alive(note)


def alive(note: Path) -> list[Process]:
    """Return those of the processes in *note* that run."""
    started = [Process.from_pid(int(pid)) for pid in note.read_text().split()]
    return [process for process in started if process is not None]


async def all_ended(left: list[Process]) -> None:
    await until(lambda: not any(process.is_alive() for process in left))


@pytest.mark.parametrize("case", ["succeeds", "raises", "exits", "is_killed", "kills_its_group"])
async def test_what_a_step_started_ends_with_it(apart: Settings, tmp_path: Path, case: str) -> None:
    async with serving(apart) as api, processes.supervised(apart) as parent:
        job_id, _ = await enter(api, tmp_path / "note", case)
        done = await api.finish(job_id)
        await all_ended(alive(tmp_path / "note"))
        zombies = processes.zombies_below(parent.process.pid)

    assert done["state"] == ("succeeded" if case == "succeeds" else "failed")
    assert zombies == []


async def test_what_a_step_started_ends_when_its_job_is_cancelled(apart: Settings, tmp_path: Path) -> None:
    async with serving(apart) as api, processes.supervised(apart) as parent:
        job_id, left = await enter(api, tmp_path / "note", "waits")
        assert len(left) == 3
        await api.http.post(f"/api/v1/jobs/{job_id}/cancel")
        assert (await api.finish(job_id))["state"] == "cancelled"
        await all_ended(left)
        assert processes.zombies_below(parent.process.pid) == []


KILLS: dict[str, Callable[[processes.LoggedProcess], Any]] = {
    "worker": lambda parent: parent.child().send(signal.SIGKILL),
    "supervisor": lambda parent: parent.send(signal.SIGKILL),
    "supervisor in order": lambda parent: parent.send(signal.SIGTERM),
}


@pytest.mark.parametrize("killed", KILLS)
@pytest.mark.parametrize("case", ["waits", "holds_the_lock"])
async def test_what_a_step_started_ends_with_its_worker(
    apart: Settings, tmp_path: Path, killed: str, case: str
) -> None:
    async with serving(apart) as api, processes.supervised(apart) as parent:
        _, left = await enter(api, tmp_path / "note", case)
        worker = parent.child()
        (tmp_path / "stop").touch()  # later attempts start nothing
        KILLS[killed](parent)

        await all_ended(left)
        if killed != "worker":
            await until(lambda: not worker.is_alive())


async def test_a_worker_ends_with_a_supervisor_that_is_killed_at_its_start(apart: Settings) -> None:
    async with processes.running(apart, "worker") as parent:
        await until(lambda: bool(parent.children()))
        worker = parent.child()
        parent.process.kill()

        await until(lambda: not worker.is_alive())


async def test_steps_run_the_code_that_their_worker_has_loaded(apart: Settings, tmp_path: Path) -> None:
    source = tmp_path / "edited_flow.py"
    source.write_text(EDITED.format(value=1))
    edited = msgspec.structs.replace(apart, pipelines=(str(source),))
    async with serving(edited) as api, processes.supervised(edited) as parent:
        before = await api.finish((await api.submit("edited"))["id"])
        source.write_text("this is half a file (")
        half = await api.finish((await api.submit("edited"))["id"])
        source.write_text(EDITED.format(value=2))
        parent.child().send(signal.SIGKILL)
        await parent.wait_for_output("worker_ready", times=2)
        after = await api.finish((await api.submit("edited"))["id"])

    assert [job["result"] for job in (before, half, after)] == [1, 1, 2]


EDITED = """
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    pass

@step(runs_in="process", retries=0)
def answer(context: StepContext[Params]) -> int:
    return {value}

edited = Pipeline("edited", params=Params)
edited.add(answer, result=True)
"""


@pytest.mark.parametrize("way", ["spawn", "forkserver", "fork", "executor"])
async def test_steps_may_use_multiprocessing_and_pickles(apart: Settings, way: str) -> None:
    async with serving(apart) as api, processes.worker(apart):
        done = await api.finish((await api.submit("parallel", params={"way": way}))["id"])

    assert (done["state"], done["result"]) == ("succeeded", [1, 4, 9]), done["error"]


async def test_an_interpreter_ends_as_usual_and_logs_with_its_job(apart: Settings, tmp_path: Path) -> None:
    async with serving(apart) as api, processes.worker(apart) as worker:
        job = await api.submit("exiting", params={"folder": str(tmp_path)})
        done = await api.finish(job["id"])
        output = worker.output

    assert done["state"] == "succeeded", done["error"]
    assert (tmp_path / "atexit").read_text() == "called"
    assert (tmp_path / "thread").read_text() == "joined"
    (line,) = [line for line in output.splitlines() if "a line of the step" in line]
    assert job["id"] in line
    assert "step=end_slowly" in line
    assert "attempt=1" in line
    assert "request_id=" in line


async def test_a_fork_has_random_numbers_of_its_own(apart: Settings) -> None:
    async with serving(apart) as api, processes.worker(apart):
        jobs = [await api.submit("rolling") for _ in range(3)]
        rolls = [(await api.finish(job["id"]))["result"] for job in jobs]

    assert len({tuple(roll) for roll in rolls}) == 3
    assert {len(set(roll)) for roll in rolls} == {2}


async def test_modules_that_start_threads_get_new_interpreters(apart: Settings, tmp_path: Path) -> None:
    source = tmp_path / "threaded_flow.py"
    start = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    source.write_text(start + EDITED.format(value=3))
    threaded = msgspec.structs.replace(apart, pipelines=(str(source),))
    async with serving(threaded) as api, processes.worker(threaded) as worker:
        await worker.wait_for_output("fork_server_not_used")
        done = await api.finish((await api.submit("edited"))["id"])

    assert done["result"] == 3


async def test_the_logs_of_steps_hold_no_secrets(apart: Settings) -> None:
    secret = "the-secret-key-of-this-test"
    secretive = msgspec.structs.replace(apart, secret_key=secret, step_env=("HEADRACE_SECRET_KEY",))
    async with serving(secretive) as api, processes.worker(secretive) as worker:
        done = await api.finish((await api.submit("telling"))["id"])
        await worker.wait_for_output("a line of the step")
        output = worker.output

    assert done["state"] == "succeeded", done["error"]
    assert secret not in output
    assert "a line of the step with [redacted]" in output
