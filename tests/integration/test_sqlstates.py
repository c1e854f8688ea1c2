"""Errors of PostgreSQL in the write path of a worker: they are never the fault of a job."""

import asyncio

import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.injected_errors import SQLSTATES, count_writes, inject, stop_injecting
from support.patience import PATIENCE_SECONDS


async def submit_all(api: Api, count: int) -> list[str]:
    jobs = [{"pipeline": "ticks", "params": {"count": 3, "interval_ms": 1}} for _ in range(count)]
    response = await api.http.post("/api/v1/jobs/batch", json={"jobs": jobs})
    assert response.status_code == 202, response.text
    return [job["id"] for job in response.json()["items"]]


async def states(database: StatementPool) -> set[str]:
    return {row["state"] for row in await database.fetch("SELECT DISTINCT state FROM jobs")}


async def until_all_have_ended(database: StatementPool) -> None:
    async with asyncio.timeout(120):
        while await states(database) & {"queued", "running"}:
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_no_job_fails_although_one_write_in_fifty_is_answered_with_an_error(
    settings: Settings, database: StatementPool
) -> None:
    async with serving(settings) as api, working(settings):
        await submit_all(api, 5)
        await until_all_have_ended(database)
        await inject(database, *SQLSTATES, every=50)
        # Every error has its turn within 100 rounds, mostly within ten.
        for _ in range(100):
            await submit_all(api, 100)
            await until_all_have_ended(database)
            if await count_writes(database) > 50 * len(SQLSTATES):
                break
        else:
            pytest.fail("too few writes were answered with an error")

    assert await states(database) == {"succeeded"}


@pytest.mark.parametrize(
    ("table", "sqlstate"),
    [("jobs", "42P01"), ("jobs", "23505"), ("jobs", "P0001"), ("workers", "23514"), ("job_changes", "22P02")],
)
async def test_a_worker_goes_on_after_its_claims_or_heartbeats_were_refused(
    settings: Settings, database: StatementPool, table: str, sqlstate: str
) -> None:
    async with serving(settings) as api, working(settings):
        await submit_all(api, 1)
        await until_all_have_ended(database)
        await inject(database, sqlstate, every=1, table=table, event="INSERT OR UPDATE")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await count_writes(database) < 3:
                await asyncio.sleep(0.05)
        await stop_injecting(database, table)
        await submit_all(api, 1)
        await until_all_have_ended(database)

    assert await states(database) == {"succeeded"}


@pytest.mark.parametrize("sqlstate", ["25006", "42501", "42P01", "53100", "57P01", "58030", "XX000"])
async def test_jobs_go_on_by_themselves_after_every_write_was_refused_for_a_while(
    settings: Settings, database: StatementPool, sqlstate: str
) -> None:
    async with serving(settings) as api, working(settings):
        await inject(database, sqlstate, every=1)
        await submit_all(api, 5)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await count_writes(database) < 20:
                await asyncio.sleep(0.05)
        await stop_injecting(database)
        await until_all_have_ended(database)

    assert await states(database) == {"succeeded"}
