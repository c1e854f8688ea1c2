"""Redis is flushed, restarted empty or down under load: no job, event or cancel is lost, no process exits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as async_redis

from faults import servers
from faults.form import by_form
from faults.load import assert_in_time
from faults.scenes import Scene, under_load
from faults.settling import running_in, settled
from headrace.adapters.servers import EmbeddedServer, Servers
from headrace.settings import Settings
from support.patience import STALL_SECONDS, until_async

START_SECONDS = 2.0
CANCEL_SECONDS = 1.0


@pytest.fixture
def redis(own_servers: Servers) -> EmbeddedServer:
    assert own_servers.redis is not None
    return own_servers.redis


@pytest.fixture
def own(own: Settings) -> Settings:
    """The settings with a lease that outlasts a stall of the machine."""
    return msgspec.structs.replace(own, lease_seconds=60)


async def is_redis_healthy(scene: Scene) -> bool:
    """Return whether readiness reports Redis as working; its status is 200 in any case."""
    response = await scene.api.http.get("/health/ready")
    assert response.status_code == 200
    return "redis" not in response.json()["degraded"]


async def cancel_one(scene: Scene) -> None:
    """Cancel a running job, and assert that it ends in time."""
    (doomed,) = await scene.load.submit_many(1, hold_seconds=600)
    await running_in(scene.database, doomed, "carry[1]")
    began = time.monotonic()
    assert (await scene.api.http.post(f"/api/v1/jobs/{doomed}/cancel")).is_success
    await settled(scene.database, [doomed])
    assert (await scene.api.job(doomed))["state"] == "cancelled"
    assert time.monotonic() - began < CANCEL_SECONDS + STALL_SECONDS


@asynccontextmanager
async def watched(scene: Scene) -> AsyncIterator[None]:
    """Watch jobs that run during the block, and assert that the watchers receive every event."""
    jobs = await scene.load.submit_many(5, hold_seconds=1.0)
    watching = [asyncio.create_task(scene.api.watch(job_id)) for job_id in jobs]
    yield
    for job_id, frames in zip(jobs, await asyncio.gather(*watching), strict=True):
        assert [frame for frame in frames if "seq" in frame] == await scene.api.events(job_id)


def assert_unnoticed(scene: Scene) -> None:
    """Assert that no submission was refused, and every job had one attempt and started in time."""
    assert (scene.load.refusals, scene.load.unanswered) == ([], [])
    assert {job.attempt for job in scene.kept.values()} == {1}
    assert_in_time([job.start_wait for job in scene.kept.values()], START_SECONDS)


async def test_repeated_flushes_of_redis_have_no_visible_effect(
    own: Settings, redis: EmbeddedServer, ledger: Path
) -> None:
    async with (
        under_load(own, ledger, 0.05) as scene,
        async_redis.Redis.from_url(redis.url) as client,
        watched(scene),
    ):
        for _ in range(by_form(20, 400)):
            await client.flushall()
            await asyncio.sleep(0.05)
        await cancel_one(scene)

    assert_unnoticed(scene)


async def test_restarts_of_redis_without_its_data_have_no_visible_effect(
    own: Settings, redis: EmbeddedServer, ledger: Path
) -> None:
    async with under_load(own, ledger, 0.05) as scene:
        for _ in range(by_form(1, 5)):
            async with watched(scene):
                await servers.stop_forgetting(redis)
                await servers.start(redis)
                await until_async(lambda: is_redis_healthy(scene), seconds=START_SECONDS + STALL_SECONDS)
        await cancel_one(scene)

    assert_unnoticed(scene)


async def test_an_outage_of_redis_has_no_visible_effect(
    own: Settings, redis: EmbeddedServer, ledger: Path
) -> None:
    async with under_load(own, ledger, 0.05) as scene:
        async with watched(scene):
            await servers.stop_forgetting(redis)
            back_at = time.monotonic() + by_form(4.0, 60.0)
            assert not await is_redis_healthy(scene)
            await cancel_one(scene)
            while time.monotonic() < back_at:
                await scene.load.until_more(5)
            await servers.start(redis)
            await until_async(lambda: is_redis_healthy(scene), seconds=START_SECONDS + STALL_SECONDS)
        await cancel_one(scene)

    assert_unnoticed(scene)
