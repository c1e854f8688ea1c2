"""Builds the SQLAlchemy engine for the REST API."""

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
import structlog
from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from headrace.adapters.database import COMMAND_SECONDS, CONNECT_SECONDS, SESSION
from headrace.domain.json_decoding import decode_json

_log = structlog.get_logger(__name__)

_DIALECT: Final = "headrace"


class RollbackDialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect, whose rollback succeeds also on a lost connection.

    PostgreSQL rolls back itself when a connection ends. An error of the rollback would hide that of the
    request wherever a session ends: in REST, GraphQL and streams.
    """

    supports_statement_cache = True

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        try:
            super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  (ending the connection rolls back, whatever was wrong with it)
            _log.warning("connection_ended_for_rollback", error=type(error).__name__)
            if (connection := dbapi_connection.driver_connection) is not None:
                connection.terminate()


registry.register(f"postgresql.{_DIALECT}", __name__, RollbackDialect.__name__)


def sqlalchemy_url(url: str) -> str:
    """Return the URL of the same database for SQLAlchemy's asyncpg dialect."""
    return urlunsplit(urlsplit(url)._replace(scheme=f"postgresql+{_DIALECT}"))


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def build_engine(url: str) -> AsyncEngine:
    """Build an engine that reads JSON columns as `msgspec.Raw`, and JSONB columns as values.

    Values of JSON columns may be large, and are mostly sent on as they are.
    """
    engine = create_async_engine(
        sqlalchemy_url(url),
        pool_size=16,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        json_serializer=_encode_json,
        json_deserializer=decode_json,
        # A logged error must not contain the values of a request.
        hide_parameters=True,
        connect_args={
            "server_settings": SESSION,
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
        },
    )
    event.listen(engine.sync_engine, "connect", _read_json_as_raw)
    return engine


def _read_json_as_raw(connection: Any, _record: Any) -> None:
    connection.run_async(
        lambda driver: driver.set_type_codec(
            "json", schema="pg_catalog", format="binary", encoder=str.encode, decoder=msgspec.Raw
        )
    )
