"""The overview socket converges while Redis is away, and while its pub/sub connections are killed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as async_redis

from faults import servers
from faults.form import by_form
from headrace.adapters.servers import EmbeddedServer, Servers
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.overview_watch import Board, board

JOBS = by_form(20, 400)


def redis_of(own_servers: Servers) -> EmbeddedServer:
    assert own_servers.redis is not None
    return own_servers.redis


async def submit_all(api: Api) -> dict[str, str]:
    """Submit jobs that end and jobs that wait. Return the expected state of each."""
    quick = [await api.submit("noop") for _ in range(JOBS)]
    later = [await api.submit("noop", run_at="2100-01-01T00:00:00Z") for _ in range(3)]
    return {job["id"]: "succeeded" for job in quick} | {job["id"]: "queued" for job in later}


async def converged(shown: list[Board], states: dict[str, str]) -> None:
    await asyncio.gather(*(dashboard.until(states) for dashboard in shown))


@asynccontextmanager
async def repeating(act: Callable[[], Any]) -> AsyncIterator[None]:
    """Call *act* every 100 ms while the block runs."""

    async def repeat() -> None:
        while True:
            await act()
            await asyncio.sleep(0.1)

    acting = asyncio.create_task(repeat())
    try:
        yield
    finally:
        acting.cancel()
        await asyncio.wait({acting})


async def test_the_overview_shows_every_job_state_with_and_without_redis(
    own: Settings, own_servers: Servers
) -> None:
    redis = redis_of(own_servers)
    async with serving(own) as api, working(own), board(api) as shown, board(api) as other:
        boards = [shown, other]
        states = await submit_all(api)
        await converged(boards, states)

        await servers.stop_forgetting(redis)
        states |= await submit_all(api)
        await converged(boards, states)

        await servers.start(redis)
        states |= await submit_all(api)
        await converged(boards, states)

        async with async_redis.Redis.from_url(redis.url) as client:

            async def kill() -> None:
                await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

            async with repeating(kill):
                for _ in range(by_form(1, 10)):
                    states |= await submit_all(api)
            await converged(boards, states)

        ended = [job_id for job_id, state in states.items() if state == "succeeded"]
        for job_id in ended[:3]:
            assert (await api.http.delete(f"/api/v1/jobs/{job_id}")).status_code == 204
            del states[job_id]
        await converged(boards, states)
