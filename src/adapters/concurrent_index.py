"""Builds an index with CREATE INDEX CONCURRENTLY, and reports its progress in the log."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
import structlog
from alembic import op
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.installed_schema import quote_identifier
from headrace.adapters.online_changes import NewIndex
from headrace.adapters.postgres_connector import is_pooled
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

_REPORT_SECONDS: Final = 10.0
# It waits for transactions that are older, and nobody waits for it meanwhile.
_WAIT: Final = "SET lock_timeout = '1h'"
_STOP_WAITING: Final = "RESET lock_timeout"
# Otherwise PostgreSQL builds on for a process that was killed.
_END_WITH_CLIENT: Final = "SET client_connection_check_interval = '1s'"
_FIND: Final = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relname = $1 AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $2)
"""
_PROGRESS: Final = text("""
SELECT p.phase, p.blocks_done, p.blocks_total, nullif(p.current_locker_pid, 0) AS waits_for
FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.index_relid
WHERE c.relname = :name AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))
""")


class IndexNotBuiltError(HeadraceError):
    """The build of an index was cancelled, or waited for too long."""

    def __init__(self, index: NewIndex, reason: str) -> None:
        super().__init__(
            f"the index {index.name} of the table {index.table} was not built ({reason}):"
            " the next headrace migrate builds it anew"
        )


def build_concurrently(engine: AsyncEngine, index: NewIndex) -> None:
    """Build *index* outside of a transaction; the open one is committed first.

    A valid index of that name stays as it is. An invalid one, left by an interrupted build, is dropped first.

    Raises:
        IndexNotBuiltError: the build was cancelled, or other transactions have lasted for an hour.
    """
    # Behind a pooler, only transactions have a search path.
    schema = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    with op.get_context().autocommit_block():
        # SQLAlchemy would prepare the statement, which a pooler may then run in another session.
        adapted: Any = op.get_bind().connection.dbapi_connection
        adapted.run_async(lambda driver: _build(driver, engine, index, schema))


async def _build(driver: asyncpg.Connection, engine: AsyncEngine, index: NewIndex, schema: str) -> None:
    is_own = not is_pooled(driver)
    if is_own:
        await driver.execute(_WAIT)
        # Not every system that runs PostgreSQL can do it.
        with suppress(asyncpg.InvalidParameterValueError):
            await driver.execute(_END_WITH_CLIENT)
    try:
        await _rebuild(driver, engine, index, schema)
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        raise IndexNotBuiltError(index, str(error)) from error
    if is_own:
        await driver.execute(_STOP_WAITING)


async def _rebuild(driver: asyncpg.Connection, engine: AsyncEngine, index: NewIndex, schema: str) -> None:
    rows = await driver.fetch(_FIND, index.name, schema)
    names = {"index": index.name, "table": index.table}
    if rows and rows[0]["indisvalid"]:
        _log.info("index_exists", **names)
        return
    if rows:
        _log.warning("index_unfinished", **names)
        name = f"{quote_identifier(schema)}.{quote_identifier(index.name)}"
        await driver.execute(f"DROP INDEX CONCURRENTLY {name}")
    started_at = time.monotonic()
    _log.info("index_begun", **names)
    async with _reporting(engine, index):
        await driver.execute(f"CREATE INDEX CONCURRENTLY {index.definition(schema)}")
    _log.info("index_built", **names, seconds=round(time.monotonic() - started_at, 1))


@asynccontextmanager
async def _reporting(engine: AsyncEngine, index: NewIndex) -> AsyncIterator[None]:
    reporter = asyncio.create_task(_report_forever(engine, index))
    try:
        yield
    finally:
        reporter.cancel()
        with suppress(asyncio.CancelledError):
            await reporter


async def _report_forever(engine: AsyncEngine, index: NewIndex) -> None:
    """Log how far the build is. A failure of the report does not fail the build."""
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        try:
            async with engine.connect() as connection:
                rows = (await connection.execute(_PROGRESS, {"name": index.name})).mappings().all()
        except (OSError, SQLAlchemyError, asyncpg.PostgresError, HeadraceError) as error:
            _log.warning("index_progress_unknown", index=index.name, error=str(error))
            continue
        for row in rows:
            _log.info("index_progress", index=index.name, **row)
