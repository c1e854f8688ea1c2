"""`headrace worker`: the parent replaces a worker that dies or is blocked, and ends when it is told to."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from adapters.servers.processes import Process
from harness import serving
from settings import Settings

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


class Supervised:
    """The parent, and what it and its workers have said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def hear(self, words: str, times: int = 1) -> None:
        """Wait until a line with *words* was said so many times."""
        assert self.process.stderr is not None
        async with asyncio.timeout(40):
            while sum(words in line for line in self.said) < times:
                line = await self.process.stderr.readline()
                assert line, self.said
                self.said.append(line.decode())

    def worker_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])


@asynccontextmanager
async def supervised(settings: Settings) -> AsyncIterator[Supervised]:
    environment = os.environ | {
        "HEADRACE_DATABASE_URL": str(settings.database_url),
        "HEADRACE_REDIS_URL": str(settings.redis_url),
        "HEADRACE_DATA_DIR": str(settings.data_dir),
        "HEADRACE_PIPELINES": ",".join(settings.pipelines),
        "HEADRACE_LEASE_SECONDS": str(settings.lease_seconds),
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("headrace")),
        "worker",
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Supervised(process)
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 20)


async def test_a_killed_worker_is_replaced_and_the_parent_ends_when_told(settings: Settings) -> None:
    async with supervised(settings) as parent:
        await parent.hear("worker_ready")

        os.kill(parent.worker_pid(), signal.SIGKILL)
        await parent.hear("worker_ready", times=2)
        parent.process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(parent.process.wait(), 20) == 0


async def test_a_worker_whose_loop_is_blocked_is_replaced_and_the_job_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    flow = tmp_path / "blocking_flow.py"
    flow.write_text(BLOCKING)
    blocking = msgspec.structs.replace(settings, pipelines=(str(flow),))
    async with serving(blocking) as api, supervised(blocking) as parent:
        await parent.hear("worker_ready")
        job = await api.submit("blocking", params={"marker": ""})

        await parent.hear("the event loop is blocked")
        await parent.hear(" in block")
        done = await api.finish(job["id"])

    assert (done["state"], done["result"]) == ("succeeded", 2)


async def test_a_worker_ends_though_a_step_of_it_never_does(settings: Settings) -> None:
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, supervised(hostile) as parent:
        await parent.hear("worker_ready")
        job = await api.submit("clinging")
        done = await api.finish(job["id"])
        worker = parent.worker_pid()

        parent.process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(parent.process.wait(), 20) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    assert done["error"]["code"] == "step_timeout"


async def test_a_worker_that_gave_up_five_steps_is_replaced(settings: Settings) -> None:
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, supervised(hostile) as parent:
        await parent.hear("worker_ready")
        jobs = [await api.submit("clinging") for _ in range(5)]
        for job in jobs:
            await api.finish(job["id"])

        await parent.hear("too_many_abandoned_steps")
        await parent.hear("worker_ready", times=2)
        after = await api.finish((await api.submit("noop"))["id"])

    assert after["state"] == "succeeded"


async def test_what_a_step_has_started_ends_with_a_killed_worker(settings: Settings, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    hostile = msgspec.structs.replace(settings, pipelines=(str(HOSTILE),))
    async with serving(hostile) as api, supervised(hostile) as parent:
        await parent.hear("worker_ready")
        await api.submit("starting", params={"case": str(note)})
        await until(lambda: note.exists() and note.read_text().endswith("\n"))
        started = [int(pid) for pid in note.read_text().split()]

        worker = parent.worker_pid()
        parent.process.kill()
        os.kill(worker, signal.SIGKILL)

        await until(lambda: not any(Process.of(pid) for pid in started))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.02)


async def test_a_job_that_blocks_the_loop_for_ever_is_soon_alone_and_fails(
    settings: Settings, tmp_path: Path
) -> None:
    flow = tmp_path / "blocking_flow.py"
    flow.write_text(BLOCKING.replace("context.attempt == 1", "True"))
    blocking = msgspec.structs.replace(settings, pipelines=(str(flow),), lease_seconds=1)
    async with serving(blocking) as api, supervised(blocking) as parent:
        await parent.hear("worker_ready")
        job = await api.submit("blocking", params={"marker": ""})
        await parent.hear("running_alone")
        worker = parent.worker_pid()
        neighbours = [await api.submit("ticks", params={"count": 20, "interval_ms": 100}) for _ in range(5)]

        done = [await api.finish(neighbour["id"]) for neighbour in neighbours]
        ended = await api.finish(job["id"])

        assert parent.worker_pid() == worker
    assert [(one["state"], one["attempt"]) for one in done] == [("succeeded", 1)] * 5
    assert (ended["state"], ended["error"]["code"]) == ("failed", "lost_too_often")
