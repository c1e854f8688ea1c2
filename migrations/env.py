"""Runs migrations on the engine that `headrace.adapters.migrations` builds, in one transaction."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.domain.base import METADATA

# An arbitrary advisory lock: two deployments that migrate at the same time run one after the other.
_LOCK = 0x4EAD_4ACE


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Exclude the partitions of the event log, which are created and dropped without migrations."""
    return not (kind == "table" and name is not None and name.startswith("job_changes_"))


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        compare_type=True,
        include_name=_is_ours,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Queries of a table queue behind a migration that waits for its lock.
        connection.execute(text("SET LOCAL lock_timeout = '3s'"))
        context.run_migrations()


async def _run() -> None:
    engine: AsyncEngine = context.config.engine  # type: ignore[attr-defined]
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
