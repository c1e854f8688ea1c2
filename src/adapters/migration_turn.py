"""Lets one migration of a schema run at a time, from its first transaction to its last."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.adapters.postgres_connector import is_pooled
from headrace.domain.errors import HeadraceError

# An arbitrary advisory lock. Installations in other schemas do not wait.
_KEY: Final = f"{0x4EAD_4ACE}, hashtext(current_setting('search_path'))"
_TAKE: Final = text(f"SELECT pg_try_advisory_lock({_KEY})")
_TAKE_IN_TRANSACTION: Final = text(f"SELECT pg_try_advisory_xact_lock({_KEY})")
_RELEASE: Final = text(f"SELECT pg_advisory_unlock({_KEY})")
# It also ends the query that has taken the lock: a transaction keeps the snapshot of its last query.
_STAY_IDLE: Final = text("SET LOCAL idle_in_transaction_session_timeout = 0")
_POLL_SECONDS: Final = 0.2
_MAX_SECONDS: Final = 3600.0


class MigrationRunsError(HeadraceError):
    """Another process migrates the same schema."""

    def __init__(self) -> None:
        super().__init__("another process has been migrating this schema for an hour: wait for its end")


@asynccontextmanager
async def hold_turn(connection: AsyncConnection) -> AsyncIterator[None]:
    """Hold the advisory lock of migrations for the block. It ends with the connection at the latest.

    A waiting process polls, because a statement that waits for a lock has a snapshot, and a concurrent build
    of an index waits for the end of all older snapshots.

    Raises:
        MigrationRunsError: another process has held it for an hour.
    """
    raw = await connection.get_raw_connection()
    if not is_pooled(raw.driver_connection):
        await _wait_until_taken(connection, is_lasting=True)
        yield
        await connection.execute(_RELEASE)
        await connection.commit()
        return
    # A pooler gives each transaction another session, so the lock belongs to a transaction that stays open.
    # Nothing waits for it, as it has no snapshot.
    async with connection.engine.connect() as keeper:
        await _wait_until_taken(keeper, is_lasting=False)
        await keeper.execute(_STAY_IDLE)
        yield
        # It fails if the transaction was ended meanwhile.
        await keeper.execute(text("SELECT 1"))


async def _wait_until_taken(connection: AsyncConnection, *, is_lasting: bool) -> None:
    started_at = time.monotonic()
    while not await connection.scalar(_TAKE if is_lasting else _TAKE_IN_TRANSACTION):
        await connection.rollback()
        if time.monotonic() - started_at > _MAX_SECONDS:
            raise MigrationRunsError
        await asyncio.sleep(_POLL_SECONDS)
    if is_lasting:
        await connection.commit()
