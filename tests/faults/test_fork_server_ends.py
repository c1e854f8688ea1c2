"""A worker runs one version of a module, whenever its files change and however its fork server ends."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from faults import processes
from faults.records import read_records
from headrace.adapters.database import StatementPool
from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from support.harness import serving
from support.patience import until

FLOW = """
import time
from pathlib import Path
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    pass

FOLDER = Path({folder!r})
with (FOLDER / "imports").open("a") as imports:
    imports.write("imported\\n")

async def wait_for_go(path):
    import asyncio
    while not path.exists():
        await asyncio.sleep(0.05)

@step(runs_in="process", retries=0)
def answer(context: StepContext[Params]) -> int:
    (FOLDER / "entered").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.05)
    return {value}

@step
async def wait(context: StepContext[Params]) -> None:
    (FOLDER / "waiting").touch()
    await wait_for_go(FOLDER / "loop_goes")

edited = Pipeline("edited", params=Params)
edited.add(answer, result=True)
late = Pipeline("late", params=Params)
late.add(wait)
late.add(answer, result=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "flow_of_a_version.py"
    write_version(path, 1)
    return path


@pytest.fixture
def edited(settings: Settings, source: Path) -> Settings:
    return msgspec.structs.replace(settings, pipelines=(str(source),), lease_seconds=60, stop_seconds=8)


def write_version(source: Path, value: int) -> None:
    source.write_text(FLOW.format(folder=str(source.parent), value=value))


def fork_server(worker: Process) -> Process:
    children = processes.children_of(worker.pid)
    (server,) = [process for process in children if "child.server" in process.command()]
    return server


async def test_a_file_that_changes_while_the_worker_waits_for_postgresql_is_not_loaded(
    edited: Settings, source: Path, tmp_path: Path, database: StatementPool
) -> None:
    (tmp_path / "go").touch()
    await database.fetch("ALTER TABLE pipelines RENAME TO pipelines_away")
    async with processes.running(edited, "worker", "--alone") as worker:
        await worker.wait_for_output("waiting_for_postgresql")
        await until(lambda: (tmp_path / "imports").read_text().count("imported") == 2)
        write_version(source, 2)
        await database.fetch("ALTER TABLE pipelines_away RENAME TO pipelines")
        await worker.wait_for_output("worker_ready")
        async with serving(edited) as api:
            done = await api.finish((await api.submit("edited"))["id"])

    assert (done["state"], done["result"]) == ("succeeded", 1)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_whose_fork_server_ends_or_hangs_hands_its_steps_back_and_is_replaced(
    edited: Settings, source: Path, tmp_path: Path, database: StatementPool, ending: signal.Signals
) -> None:
    async with serving(edited) as api, processes.supervised(edited) as parent:
        running = (await api.submit("edited"))["id"]
        late = (await api.submit("late"))["id"]
        await until(lambda: (tmp_path / "entered").exists() and (tmp_path / "waiting").exists())
        write_version(source, 2)
        server = fork_server(parent.child())
        steps = processes.family(server.pid)
        assert steps
        server.send(ending)
        await parent.wait_for_output("fork_server_ended")
        await until(lambda: not any(step.is_alive() for step in steps))
        (tmp_path / "loop_goes").touch()
        (tmp_path / "go").touch()
        done = await asyncio.gather(api.finish(running), api.finish(late))
        kept = await read_records(database, [running, late])
        output = parent.output

    assert [(job["state"], job["result"], job["attempt"]) for job in done] == [("succeeded", 2, 2)] * 2
    for job in kept.values():
        assert (job.lost_attempts, job.losses) == (0, 0)
        assert [event.body["reason"] for event in job.of_type("job.requeued")] == ["handed_back"]
    assert output.count("worker_ready") == 2
