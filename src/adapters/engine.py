"""Builds the SQLAlchemy engines for the REST API."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn

import asyncpg
import msgspec
import structlog
from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection, PGDialect_asyncpg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util import await_only

from headrace.adapters.database import COMMAND_SECONDS, session_of
from headrace.adapters.database_errors import DRIVER_ERRORS, translate_database_error
from headrace.adapters.fair_pool import FairPool
from headrace.adapters.fair_turns import FairTurns
from headrace.adapters.postgres_connector import PostgresConnector, is_pooled
from headrace.adapters.postgres_url import PostgresAddress, as_postgres_address
from headrace.domain.conditions import Report, ignore_trouble
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseReadOnlyError,
    DatabaseTimeoutError,
    PoolFullError,
    trouble_of,
)
from headrace.domain.json_decoding import decode_json

_log = structlog.get_logger(__name__)

_DIALECT: Final = "headrace"
_CACHED_STATEMENTS: Final = 100

Connect = Callable[[], Awaitable[Any]]
WAIT_SECONDS: Final = 5.0
_USED_AT: Final = "used_at"
# asyncpg's words about a connection that was closed before a statement; the reason does not reach its caller.
_CLOSED: Final = "connection is closed"
# A connection that was used a moment ago is not checked again.
_IDLE_SECONDS: Final = 1.0


class HeadraceDialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect with our connector, whose rollback succeeds also on a lost connection.

    PostgreSQL rolls back itself when a connection ends. An error of the rollback would hide that of the
    request wherever a session ends: in REST, GraphQL and streams.
    """

    supports_statement_cache = True

    def connect(self, *_: Any, connect: Connect) -> Any:
        connection = await_only(connect())
        # Prepared statements do not survive a transaction behind a pooler.
        size = 0 if is_pooled(connection) else _CACHED_STATEMENTS
        return AsyncAdapt_asyncpg_connection(  # type: ignore[no-untyped-call]
            self.loaded_dbapi, connection, prepared_statement_cache_size=size
        )

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        try:
            super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  (ending the connection rolls back, whatever was wrong with it)
            _log.warning("connection_ended_for_rollback", error=type(error).__name__)
            if (connection := dbapi_connection.driver_connection) is not None:
                connection.terminate()


registry.register(f"postgresql.{_DIALECT}", __name__, HeadraceDialect.__name__)


def create_engine(connect: Connect, **options: Any) -> AsyncEngine:
    """Create an engine whose connections come from *connect*."""
    return create_async_engine(f"postgresql+{_DIALECT}://", connect_args={"connect": connect}, **options)


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class ReportingPool(FairPool):
    """A pool that reports failures of PostgreSQL, and that is too small with an error of the domain."""

    report: Report = staticmethod(ignore_trouble)
    expired_at = float("-inf")

    def _do_get(self) -> Any:
        try:
            return super()._do_get()
        except PoolTimeoutError as error:
            self.refuse(PoolFullError(), error)

    def refuse(self, translated: DatabaseAwayError | DatabaseBusyError, error: BaseException) -> NoReturn:
        if (trouble := trouble_of(translated)) is not None:
            self.report(trouble)
        raise translated from error


def build_engine(
    address: PostgresAddress | str,
    report: Report = ignore_trouble,
    *,
    size: int = 16,
    share: int | None = None,
    statement_seconds: float | None = None,
    suspect: Callable[[], None] | None = None,
) -> AsyncEngine:
    """Build an engine that reads JSON columns as `msgspec.Raw`, and JSONB columns as values.

    *address* may be a URL. Values of JSON columns may be large, and are mostly sent on as they are. Errors
    that are no fault of a statement are the domain's, and *report* receives them. The engine has *size*
    connections, of which a user holds at most *share* at once. PostgreSQL ends a statement after
    *statement_seconds*. *suspect*: see `FairTurns`.
    """
    pool: ReportingPool
    connector = PostgresConnector(
        as_postgres_address(address), session_of(statement_seconds), answer_seconds=COMMAND_SECONDS
    )
    engine = create_engine(
        lambda: _connect(pool, connector),
        poolclass=ReportingPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        pool_recycle=1800,
        json_serializer=_encode_json,
        json_deserializer=decode_json,
        # A logged error must not contain the values of a request.
        hide_parameters=True,
    )
    pool = _pool_of(engine)
    pool.report = report
    pool.turns = FairTurns(size, share or size, WAIT_SECONDS, suspect=suspect)
    event.listen(engine.sync_engine, "connect", _read_json_as_raw)
    event.listen(engine.sync_engine, "connect", _note_age)
    event.listen(engine.sync_engine, "checkout", partial(_refuse_expired, pool))
    event.listen(engine.sync_engine, "checkout", _check_idle_connection)
    event.listen(engine.sync_engine, "checkin", _note_use)
    event.listen(engine.sync_engine, "handle_error", partial(_translate, pool))
    return engine


def expire_connections(engine: AsyncEngine) -> None:
    """Replace every connection of *engine* before its next transaction."""
    _pool_of(engine).expired_at = time.monotonic()


def _pool_of(engine: AsyncEngine) -> ReportingPool:
    pool = engine.sync_engine.pool
    if not isinstance(pool, ReportingPool):
        raise TypeError(f"{engine} was not built by build_engine")
    return pool


async def _connect(pool: ReportingPool, connector: PostgresConnector) -> Any:
    try:
        return await connector.connect()
    except Exception as error:
        translated = translate_database_error(error)
        if translated is None:
            raise
        if isinstance(translated, DatabaseTimeoutError):
            translated = DatabaseAwayError("a connection takes too long")
        pool.refuse(translated, error)


def _translate(pool: ReportingPool, context: ExceptionContext) -> None:
    """Raise the domain's error in place of one that is not the fault of the statement."""
    error = context.original_exception
    cause = error.__cause__ or error
    translated = translate_database_error(cause)
    if translated is None:
        return
    if isinstance(translated, DatabaseReadOnlyError):
        # After a fail-over all connections may be as old as this one.
        context.is_disconnect = True
    elif isinstance(cause, asyncpg.InterfaceError) and _CLOSED in str(cause):
        # Nothing was sent. PostgreSQL ends transactions that are idle for too long, so this is no outage; if
        # there is one, the next connection shows it.
        translated = DatabaseBusyError("the session has ended between two statements")
    pool.refuse(translated, error)


def _note_age(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["connected_at"] = time.monotonic()


def _refuse_expired(
    pool: ReportingPool, _connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    if record.info["connected_at"] < pool.expired_at:
        raise DisconnectionError


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _check_idle_connection(
    connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Check a connection that has been idle for a while; the pool replaces it if it is gone.

    `pool_pre_ping` would take three round trips, before each transaction.
    """
    is_gone = record.driver_connection is None or record.driver_connection.is_closed()
    if not is_gone and time.monotonic() - record.info.get(_USED_AT, time.monotonic()) > _IDLE_SECONDS:
        try:
            connection.run_async(lambda driver: driver.execute("SELECT 1"))
        except DRIVER_ERRORS:
            is_gone = True
    if is_gone:
        raise InvalidatePoolError


def _read_json_as_raw(connection: Any, _record: Any) -> None:
    connection.run_async(
        lambda driver: driver.set_type_codec(
            "json", schema="pg_catalog", format="binary", encoder=str.encode, decoder=msgspec.Raw
        )
    )


def connections_in_use(engine: AsyncEngine) -> int:
    """Return how many connections of *engine* are in use now."""
    pool = engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0
