"""What fails a single request is reported as no outage: an idle transaction, a pool that is full."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.conditions import Trouble
from headrace.domain.database import DatabaseBusyError, PoolFullError
from support.patience import until


async def test_a_transaction_that_postgresql_ended_for_idleness_is_not_reported(database_url: str) -> None:
    reports: list[Trouble] = []
    engine = build_engine(database_url, reports.append, size=1)
    async with engine.connect() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await until(driver.is_closed)
        with pytest.raises(DatabaseBusyError, match="between two statements"):
            await connection.execute(text("SELECT 1"))
    async with engine.connect() as connection:
        afterwards = (await connection.execute(text("SELECT 1"))).scalar_one()
    await engine.dispose()

    assert (afterwards, reports) == (1, [])


async def test_a_full_pool_is_not_reported(database_url: str) -> None:
    reports: list[Trouble] = []
    pool = await StatementPool.open(database_url, size=1, report=reports.append)
    await pool.fetch("SELECT 1")
    busy = asyncio.create_task(pool.fetch("SELECT pg_sleep(20)"))
    await until(lambda: pool._pool.get_idle_size() == 0)
    # Only now: asyncpg gives as much time to the return of a connection as to its loan.
    pool._acquire_seconds = 0.05
    with pytest.raises(PoolFullError, match="all connections of this process"):
        await pool.fetch("SELECT 1")
    await cancel_and_wait([busy])
    await pool.close()

    assert reports == []
