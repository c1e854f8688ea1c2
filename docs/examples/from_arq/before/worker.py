"""Nightly reports: a job fetches the figures of some shops one by one, and sums them up."""

import asyncio
from typing import Any

from arq import Retry, create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

FIGURES = {"north": 20, "south": 22}
failed: set[str] = set()


async def fetch(ctx: dict[str, Any], shop: str) -> int:
    """Ask a shop for its figure; the first try fails, as networks do."""
    if shop not in failed:
        failed.add(shop)
        raise ConnectionError(f"no answer from {shop}")
    return FIGURES[shop]


async def report(ctx: dict[str, Any], shops: list[str]) -> int:
    """Sum up the figures. If one fetch fails, arq runs the whole function again."""
    try:
        figures = [await fetch(ctx, shop) for shop in shops]
    except ConnectionError as error:
        raise Retry(defer=0.1) from error
    return sum(figures)


class WorkerSettings:
    functions = [report]
    redis_settings = RedisSettings()
    max_tries = 5
    job_timeout = 60


async def main() -> None:
    redis = await create_pool(WorkerSettings.redis_settings)
    job: Job | None = await redis.enqueue_job("report", ["north", "south"], _job_id="report 2026-11-30")
    if job is not None:
        print(await job.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
