"""Workers that vanish: another takes the job over, and nothing that is done is done again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import websockets

from adapters.database import StatementPool
from harness import Api, serving, working
from settings import Settings

FLOWS = Path(__file__).parents[1] / "journey" / "flows" / "sample_flows.py"
DEMO = Path(__file__).parents[2] / "src" / "pipelines" / "shootout" / "assets" / "demo.json"
LEASE_SECONDS = 2


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """`headrace worker --alone`: the worker process itself, without the parent that would replace it."""
    environment = os.environ | {
        "HEADRACE_DATABASE_URL": str(settings.database_url),
        "HEADRACE_REDIS_URL": str(settings.redis_url),
        "HEADRACE_DATA_DIR": str(settings.data_dir),
        "HEADRACE_PIPELINES": ",".join(settings.pipelines),
        "HEADRACE_LEASE_SECONDS": str(settings.lease_seconds),
    }
    command = [str(Path(sys.executable).with_name("headrace")), "worker", "--alone"]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 10)


async def until_ready(api: Api) -> None:
    """Wait until a worker is there; its pipelines are registered then."""
    async with asyncio.timeout(30):
        while (await api.http.get("/health/ready")).json()["degraded"]:
            await asyncio.sleep(0.05)


async def events_until(api: Api, job_id: str, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    """The frames of a job up to the first of *kind* that has the *wanted* fields."""
    frames = []
    async with (
        asyncio.timeout(60),
        websockets.connect(f"{api.ws}/api/v1/jobs/{job_id}/ws", max_size=None) as socket,
    ):
        async for message in socket:
            frame = msgspec.json.decode(message)
            frames.append(frame)
            if frame["type"] == kind and all(frame.get(name) == value for name, value in wanted.items()):
                return frames
    raise AssertionError(f"no {kind} in {[frame['type'] for frame in frames]}")


def entered_twice(events: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """The step runs that were entered again after they had succeeded."""
    done: set[tuple[str, Any]] = set()
    again = []
    for event in events:
        run = (event.get("step", ""), event.get("index"))
        if event["type"] == "step.succeeded":
            done.add(run)
        elif event["type"] == "step.started" and run in done:
            again.append(run)
    return again


async def test_a_shootout_whose_worker_is_killed_goes_on_where_it_was(
    settings: Settings,
) -> None:
    short = msgspec.structs.replace(settings, lease_seconds=LEASE_SECONDS)
    params = msgspec.json.decode(DEMO.read_bytes())
    async with serving(short) as api, worker_process(short) as first:
        await until_ready(api)
        job = await api.submit("shootout", params=params)
        await events_until(api, job["id"], "step.succeeded", step="render")
        first.send_signal(signal.SIGKILL)
        await first.wait()

        async with working(short):
            done = await api.finish(job["id"])
            events = await api.events(job["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 2), done["error"]
    assert entered_twice(events) == []
    lost = next(event for event in events if event["type"] == "attempt.lost")
    assert lost["attempt"] == 1
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_zombie_that_comes_back_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    short = msgspec.structs.replace(settings, lease_seconds=1, pipelines=(str(FLOWS),))
    async with serving(short) as api, worker_process(short) as zombie:
        await until_ready(api)
        job = await api.submit("counting", params={"ledger": str(ledger), "hold_seconds": 2})
        await events_until(api, job["id"], "step.started", step="hold")
        zombie.send_signal(signal.SIGSTOP)

        async with working(short):
            done = await api.finish(job["id"])
            before = await api.events(job["id"])
            zombie.send_signal(signal.SIGCONT)
            other = await api.submit("noop")
            await api.finish(other["id"])
            # Longer than the zombie's step had left, and its heartbeat with it.
            await asyncio.sleep(2.5)

            after = await api.events(job["id"])

    assert (done["state"], done["attempt"]) == ("succeeded", 2)
    assert after == before
    assert zombie.returncode is None or zombie.returncode == -signal.SIGKILL


async def test_a_job_that_kills_its_workers_ends_and_its_neighbour_succeeds(
    settings: Settings, database: StatementPool
) -> None:
    async with serving(settings) as api, working(settings):
        job = await api.submit("ticks", params={"count": 100_000, "interval_ms": 10})
        neighbour = await api.submit("ticks", params={"count": 300, "interval_ms": 10})
        for losses in range(5):
            async with asyncio.timeout(20):
                # A worker that holds the lease and is never heard of again.
                while not await database.fetch(
                    "UPDATE jobs SET lease_expires_at = '2000-01-01', lease_owner = 'ghost'"
                    " WHERE id = $1::uuid AND state = 'running' AND losses = $2 RETURNING id",
                    job["id"],
                    losses,
                ):
                    await asyncio.sleep(0.02)
            await events_until(api, job["id"], "attempt.lost", attempt=losses + 1)

        done = await api.finish(job["id"])
        beside = await api.finish(neighbour["id"])

    assert (done["state"], done["error"]["code"], done["attempt"]) == ("failed", "lost_too_often", 5)
    assert beside["state"] == "succeeded"
