"""Bringing the database up to date: the schema, and the partitions that the next days need."""

import asyncio
from datetime import UTC, datetime

from headrace.cli.database_refusals import refusals_told


def bring_up_to_date(url: str) -> None:
    """Upgrade the schema; running it again changes nothing.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: it does not let us in.
    """
    from headrace.adapters.migrations import upgrade

    with refusals_told():
        upgrade(url)
        asyncio.run(_make_partitions(url))


def describe_revisions(url: str) -> list[str]:
    """A line for each revision, the newest first; `>` marks the one that the database is at.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: it does not let us in.
    """
    from headrace.adapters.migrations import list_revisions

    with refusals_told():
        current = asyncio.run(_ask_revision(url))
    return [f"{'>' if name == current else ' '} {name}  {what}" for name, what in list_revisions()]


async def _ask_revision(url: str) -> str | None:
    from headrace.adapters.database import StatementPool
    from headrace.adapters.migrations import current_revision

    pool = await StatementPool.open(url, size=1)
    try:
        return await current_revision(pool)
    finally:
        await pool.close()


async def _make_partitions(url: str) -> None:
    from headrace.adapters.database import StatementPool
    from headrace.domain.events.partitions import make_partitions

    pool = await StatementPool.open(url, size=1)
    try:
        await make_partitions(pool, datetime.now(UTC))
    finally:
        await pool.close()
