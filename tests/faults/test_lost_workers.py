"""When a worker vanishes, another worker takes the job over, and no finished step runs again."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from headrace.workers.child import protocol
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS, open_socket

FLOWS = Path(__file__).parent / "flows" / "fault_flows.py"
DEMO = Path(__file__).parents[2] / "src" / "pipelines" / "shootout" / "assets" / "demo.json"
LEASE_SECONDS = 2


async def events_until(api: Api, job_id: str, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the frames of a job up to the first of *kind* that has the given *fields*."""
    frames = []
    async with (
        asyncio.timeout(180),
        open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws", max_size=None) as socket,
    ):
        async for message in socket:
            frame = msgspec.json.decode(message)
            frames.append(frame)
            if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items()):
                return frames
    raise AssertionError(f"no {kind} in {[frame['type'] for frame in frames]}")


@pytest.mark.slow
async def test_a_shootout_resumes_after_its_worker_is_killed(
    settings: Settings, database: StatementPool
) -> None:
    # The long lease does not expire on a busy machine while the worker is alive.
    patient = msgspec.structs.replace(settings, lease_seconds=60)
    params = msgspec.json.decode(DEMO.read_bytes())
    async with serving(patient) as api, processes.worker(patient) as first:
        job = await api.submit("shootout", params=params)
        await events_until(api, job["id"], "step.succeeded", step="render")
        first.send(signal.SIGKILL)
        await first.wait()
        await database.fetch("UPDATE jobs SET lease_expires_at = '2000-01-01' WHERE state = 'running'")

        async with working(patient):
            done = await api.finish(job["id"])
            kept = await assert_kept(api, database, [job["id"]])

    # A worker that still loads the modules of a step hands the job back, which is no loss.
    assert (done["state"], kept[job["id"]].lost_attempts) == ("succeeded", 1), done["error"]


async def test_a_job_whose_lease_runs_out_five_times_goes_on_and_is_not_blamed(
    settings: Settings, database: StatementPool
) -> None:
    async with serving(settings) as api, working(settings):
        job = await api.submit("ticks", params={"count": 300, "interval_ms": 10})
        for attempt in range(1, 6):
            async with asyncio.timeout(PATIENCE_SECONDS):
                # This gives the lease to a worker that does not exist.
                while not await database.fetch(
                    "UPDATE jobs SET lease_expires_at = '2000-01-01', lease_owner = 'ghost'"
                    " WHERE id = $1::uuid AND state = 'running' AND attempt = $2 RETURNING id",
                    job["id"],
                    attempt,
                ):
                    await asyncio.sleep(0.02)
            await events_until(api, job["id"], "attempt.lost", attempt=attempt, blamed=False)

        done = await api.finish(job["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 6)
    assert (await database.fetch("SELECT losses FROM jobs"))[0]["losses"] == 0


def test_a_step_process_ends_when_its_worker_goes_away_with_unread_messages(tmp_path: Path) -> None:
    worker_end, child_end = socket.socketpair()
    run = protocol.RunStep(
        source=str(FLOWS),
        pipeline="asking",
        version=1,
        step="say_and_ask",
        params='{"case": ""}',
        item=None,
        job_id=uuid4(),
        attempt=1,
        scratch=str(tmp_path),
        max_output_bytes=1000,
    )
    start = "from headrace.workers.child.main import main; main()"
    with child_end:
        command = [sys.executable, "-P", "-c", start, str(child_end.fileno()), str(os.getpid())]
        child = subprocess.Popen(command, pass_fds=(child_end.fileno(),), process_group=0)
    try:
        with worker_end:
            worker_end.sendall(protocol.encode(run))
            worker_end.recv(1, socket.MSG_PEEK)

        assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
