"""Submits a report, and waits for its result."""

import asyncio
import os

from headrace_client import AsyncClient


async def main() -> None:
    async with AsyncClient(os.environ.get("HEADRACE_URL", "http://127.0.0.1:8000")) as client:
        job = await client.submit("report", {"shops": ["north", "south"]}, key="report 2026-11-30")
        job = await client.wait(job.id, timeout=60)
        print(job.state, job.result)


asyncio.run(main())
