"""PostgreSQL ends a transaction that does nothing for too long: that fails one request, and is no outage."""

from typing import Any

import pytest
from sqlalchemy import text

from headrace.adapters.engine import build_engine
from headrace.domain.conditions import Trouble
from headrace.domain.database import DatabaseBusyError
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
