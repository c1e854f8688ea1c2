"""Upgrades the database: its schema, and the partitions for the events of the next months."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from headrace.adapters.postgres_url import PostgresAddress
from headrace.cli.database_refusals import translate_refusals

# Copying and moving millions of events takes minutes.
_MOVE_SECONDS: Final = 3600.0


def bring_up_to_date(address: PostgresAddress | str) -> None:
    """Upgrade the schema. A second run changes nothing, nor does a run on a newer schema that fits.

    Raises:
        SchemaAheadError: the schema is newer, and does not work with this release.
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: PostgreSQL refuses the login.
    """
    from headrace.adapters.migrations import upgrade

    with translate_refusals():
        if asyncio.run(_is_newer(address)):
            return
        upgrade(address)
        asyncio.run(_make_partitions(address))


def describe_revisions(address: PostgresAddress | str) -> list[str]:
    """Return a line for each revision, the newest first; `>` marks the current one of the database.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: PostgreSQL refuses the login.
    """
    from headrace.adapters.migrations import list_revisions

    with translate_refusals():
        current = asyncio.run(_fetch_revision(address))
    return [f"{'>' if name == current else ' '} {name}  {summary}" for name, summary in list_revisions()]


async def _fetch_revision(address: PostgresAddress | str) -> str | None:
    from headrace.adapters.database import StatementPool
    from headrace.adapters.revisions import current_revision

    pool = await StatementPool.open(address, size=1)
    try:
        return await current_revision(pool)
    finally:
        await pool.close()


async def _is_newer(address: PostgresAddress | str) -> bool:
    """Return whether a newer release has migrated the database, whose schema works with this one."""
    from headrace.adapters.database import StatementPool
    from headrace.adapters.revisions import current_revision, known_revisions
    from headrace.adapters.schema import require_schema

    pool = await StatementPool.open(address, size=1)
    try:
        revision = await current_revision(pool)
        is_newer = revision is not None and revision not in known_revisions()
        if is_newer:
            await require_schema(pool)
    finally:
        await pool.close()
    return is_newer


async def _make_partitions(address: PostgresAddress | str) -> None:
    """Create the partitions, and move any number of events out of the default partition."""
    from headrace.adapters.database import StatementPool
    from headrace.domain.events.partitions import create_partitions

    pool = await StatementPool.open(address, size=1, answer_seconds=_MOVE_SECONDS)
    try:
        await create_partitions(pool, datetime.now(UTC))
    finally:
        await pool.close()
