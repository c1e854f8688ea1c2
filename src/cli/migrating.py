"""Bringing the database up to date: the schema, and the partitions that the next days need."""

import asyncio
from datetime import UTC, datetime

from cli.database_refusals import refusals_told


def bring_up_to_date(url: str) -> None:
    """Upgrade the schema; running it again changes nothing.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: it does not let us in.
    """
    from adapters.migrations import upgrade

    with refusals_told():
        upgrade(url)
        asyncio.run(_make_partitions(url))


async def _make_partitions(url: str) -> None:
    from adapters.database import StatementPool
    from domain.events.partitions import make_partitions

    pool = await StatementPool.open(url, size=1)
    try:
        await make_partitions(pool, datetime.now(UTC))
    finally:
        await pool.close()
