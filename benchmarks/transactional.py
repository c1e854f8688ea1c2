"""Measures submissions by the functions of the database: 1,000 jobs a statement, and one job a transaction.

One job a transaction is measured with and without a notice at its commit. Claims, and the start of a job
after its commit, are measured with a worker and without an API.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from common import (
    EMPTY,
    RUNS,
    arguments,
    bench_environment,
    fetch,
    on_uvloop,
    owner_of,
    percentile,
    processes,
    report,
)

BATCH_SIZE: Final = 1_000
BATCH: Final = msgspec.json.encode([{"pipeline": "noop", "params": {}}] * BATCH_SIZE).decode()
MANY: Final = """SELECT count(*) FROM submit_many($1::jsonb, '{"owner": "bench"}')"""
ONE: Final = """SELECT submit('noop', '{}', '{"owner": "bench"}')"""
PLAIN: Final = "SELECT pg_current_xact_id()"
STARTED: Final = "SELECT started_at - created_at AS waited FROM jobs WHERE id = $1 AND started_at IS NOT NULL"


def main() -> None:
    options = arguments(__doc__, jobs=60_000, singles=4_000, starts=100)
    figures: dict[str, list[float]] = {}
    with bench_environment() as env:
        on_uvloop(owner_of(env.database_url))
        for _ in range(RUNS):
            on_uvloop(measure_rates(env.database_url, options.jobs, options.singles, figures))
        with processes(env, ["worker"]):
            for _ in range(RUNS):
                on_uvloop(measure_starts(env.database_url, options.starts, figures))
        version = on_uvloop(fetch(env.database_url, "SHOW server_version"))[0][0]
    report(
        f"transactional submissions (PostgreSQL {version})",
        {name: {"median": statistics.median(runs), "runs": runs} for name, runs in figures.items()},
        options.json,
    )


async def measure_rates(url: str, jobs: int, singles: int, figures: dict[str, list[float]]) -> None:
    async def call(connection: asyncpg.Connection) -> None:
        await connection.fetchval(MANY, BATCH)

    for connections in (1, 2):
        await fetch(url, EMPTY)
        rate = BATCH_SIZE * await rate_of(url, call, jobs // BATCH_SIZE, connections)
        figures.setdefault(f"jobs/s, 1,000 a statement, {connections} connections", []).append(rate)
    for name, statement, notify in (
        ("one job", ONE, "on"),
        ("one job, no notice", ONE, "off"),
        ("no job", PLAIN, "off"),
    ):
        await fetch(url, EMPTY)

        async def call_one(connection: asyncpg.Connection, statement: str = statement) -> None:
            await connection.fetchval(statement)

        rate = await rate_of(url, call_one, singles, 16, notify)
        figures.setdefault(f"transactions/s, 16 connections, {name}", []).append(rate)


async def rate_of(
    url: str,
    call: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]],
    count: int,
    connections: int,
    notify: str = "on",
) -> float:
    """Return how many of *count* calls are done in a second, over several connections."""
    open_connections = [
        await asyncpg.connect(url, server_settings={"headrace.notify": notify}) for _ in range(connections)
    ]
    left = iter(range(count))

    async def work(connection: asyncpg.Connection) -> None:
        for _ in left:
            await call(connection)

    try:
        for connection in open_connections:
            await call(connection)
        began = time.perf_counter()
        await asyncio.gather(*map(work, open_connections))
        return count / (time.perf_counter() - began)
    finally:
        for connection in open_connections:
            await connection.close()


async def measure_starts(url: str, count: int, figures: dict[str, list[float]]) -> None:
    """Submit jobs one after the other to an idle worker; measure from the statement to the start."""
    await fetch(url, EMPTY)
    for name, notify in (("notice", "on"), ("poll", "off")):
        connection = await asyncpg.connect(url, server_settings={"headrace.notify": notify})
        waits = [
            await wait_for_start(connection, await connection.fetchval(ONE))
            for _ in range(count if notify == "on" else count // 5)
        ]
        await connection.close()
        figures.setdefault(f"ms to the start by {name}, p50", []).append(percentile(waits, 0.5))
        figures.setdefault(f"ms to the start by {name}, p99", []).append(percentile(waits, 0.99))


async def wait_for_start(connection: asyncpg.Connection, job_id: UUID) -> float:
    """Return the milliseconds from the submission of a job to its start."""
    for _ in range(2_000):
        if rows := await connection.fetch(STARTED, job_id):
            return float(rows[0]["waited"].total_seconds() * 1000)
        await asyncio.sleep(0.005)
    raise TimeoutError(job_id)


if __name__ == "__main__":
    main()
