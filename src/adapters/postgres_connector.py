"""Opens connections to PostgreSQL for every part of the service: pools, the engine of the API and migrations.

A connection pooler such as PgBouncer gives each transaction another connection to PostgreSQL, so neither the
parameters of a session nor prepared statements survive a transaction. It is recognised at the first
connection: it refuses or ignores the parameters. From then on they are set in each transaction instead.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import asyncpg
import structlog

from headrace.adapters.host_names import HOST_NAMES
from headrace.adapters.installed_schema import quote_identifier, search_path_query
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.server_urls import ENDED_HANDSHAKES, read_password
from headrace.domain.database import DatabaseAwayError, DatabaseMisconfiguredError

_log = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 5.0
_MIN_HOST_SECONDS: Final = 0.5
# PostgreSQL takes a parameter with a point for that of an extension. A pooler does not pass it on.
_MARK: Final = "headrace.session"
HAS_OWN_SESSION: Final = f"pg_catalog.current_setting('{_MARK}', true) = 'own'"
"""An SQL expression: whether no pooler stands between."""
# Behind a pooler this would change the sessions of others.
_SET_PATH: Final = (
    f"CASE WHEN {HAS_OWN_SESSION} THEN pg_catalog.set_config('search_path', {{path}}, false) END"
)
_REFUSED_PARAMETER: Final = "startup parameter"
_POOLER_REFUSALS: Final = ("authentication failed", "does not exist", "no such user", "no such database")
_STATEMENT_MODE: Final = "statement pooling mode"
# Poolers track this one and pass `options` on, if they know it.
_ALLOWED_BY_POOLERS: Final = ("application_name", "options")
_NO_TLS: Final = "rejected SSL upgrade"
_MISCONFIGURED: Final = (
    ssl.SSLError,
    asyncpg.ClientConfigurationError,
    asyncpg.UnsupportedClientFeatureError,
    asyncpg.UnsupportedServerFeatureError,
)
# As in libpq, another host is tried after these; a refused login ends the search.
_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
)


class PooledConnection(asyncpg.Connection):
    """A connection through a pooler: it sets the parameters of the session in each transaction."""

    __slots__ = ("_set_parameters",)

    def set_in_transactions(self, parameters: Mapping[str, str]) -> None:
        settings = ", ".join(
            f"set_config('{name}', {_quoted(value)}, true)" for name, value in parameters.items()
        )
        self._set_parameters = f"; SELECT {settings}" if settings else ""

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """Run a command. asyncpg and SQLAlchemy begin their transactions with it."""
        if not query.startswith("BEGIN"):
            return await super().execute(query, *args, **options)
        try:
            return await super().execute(query.rstrip(";") + self._set_parameters, **options)
        except asyncpg.PostgresError as error:
            if _STATEMENT_MODE in str(error):
                raise _refusal(
                    f"a pooler stands between, and {_STATEMENT_MODE} has no transactions"
                ) from error
            await self._rollback()
            raise

    async def fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        """Run one statement in a transaction of its own."""
        is_answered = False
        try:
            await self.execute("BEGIN")
            try:
                rows: list[Any] = await super().fetch(query, *args, **options)
            except asyncpg.PostgresError:
                await self._rollback()
                is_answered = True
                raise
            await self.execute("COMMIT")
            is_answered = True
        finally:
            if not is_answered:
                # The pooler rolls back when the connection ends. A rollback could wait for long.
                self.terminate()
        return rows

    async def _rollback(self) -> None:
        if not self.is_closed():
            await super().execute("ROLLBACK")


def is_pooled(connection: Any) -> bool:
    """Return whether a pooler gives each transaction of *connection* another session.

    asyncpg's classes take every connection for an instance of theirs.
    """
    return type(connection) is PooledConnection


class PostgresConnector:
    """Opens connections to one address with the same parameters of the session."""

    def __init__(
        self, address: PostgresAddress, session: Mapping[str, str], *, answer_seconds: float | None
    ) -> None:
        """*session*: the parameters of each session · *answer_seconds*: the limit of each statement."""
        self._address = address
        self._session = {**session, **address.session}
        self._path_query: str | None = None
        if address.schema is not None:
            self._session["search_path"] = quote_identifier(address.schema)
        else:
            self._path_query = search_path_query(is_path_given="search_path" in address.session)
        self._answer_seconds = answer_seconds
        self._hosts: Sequence[tuple[str, int | None]] = address.hosts or (("", None),)
        HOST_NAMES.keep(host for host, _ in address.hosts)
        # A silent host must leave time for the others before the caller gives up.
        connect_seconds = (address.connect_seconds or 0) * len(self._hosts) or CONNECT_SECONDS
        self.connect_seconds = min(connect_seconds, answer_seconds or connect_seconds)
        """The limit of all attempts of a connect together."""
        self._host_seconds = max(self.connect_seconds / len(self._hosts), _MIN_HOST_SECONDS)
        self._first_host = 0
        self._has_pooler = address.has_pooler

    async def connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        """Open a connection to the first host that fits, beginning with the one of the last connection.

        asyncpg's pool and SQLAlchemy pass arguments, which stand in the address already.

        Raises:
            DatabaseMisconfiguredError: TLS or a parameter does not fit the server.
            DatabaseAwayError: the password file cannot be read.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError: that of the last host.
        """
        targets = ("standby", "any") if self._address.target == "prefer-standby" else (self._address.target,)
        places = [*range(self._first_host, len(self._hosts)), *range(self._first_host)]
        attempts = [(place, target) for target in targets for place in places]
        for place, target in attempts[:-1]:
            try:
                connection = await self._connect_to(place, target)
            except _NEXT_HOST:
                continue
            return connection
        return await self._connect_to(*attempts[-1])

    async def _connect_to(self, place: int, target: str | None) -> asyncpg.Connection:
        connection = None if self._has_pooler else await self._open_own(place, target)
        if connection is None:
            connection = await self._open_pooled(place, target)
        self._first_host = place
        return connection

    async def _open_pooled(self, place: int, target: str | None) -> asyncpg.Connection:
        allowed = {name: value for name, value in self._session.items() if name in _ALLOWED_BY_POOLERS}
        connection: PooledConnection = await self._open(place, target, allowed, PooledConnection)
        others = {name: value for name, value in self._session.items() if name not in allowed}
        connection.set_in_transactions(others)
        if self._path_query is not None:
            others["search_path"] = await _fetch_value(connection, f"SELECT {self._path_query}")
            connection.set_in_transactions(others)
            self._keep_path(others["search_path"])
        return connection

    async def _open_own(self, place: int, target: str | None) -> asyncpg.Connection | None:
        """Open a connection to a session of its own; None if a pooler stands between."""
        # Another connection may find the path meanwhile, but this session begins without it.
        path_query = self._path_query
        try:
            session = {**self._session, _MARK: "own"}
            connection: asyncpg.Connection = await self._open(place, target, session, asyncpg.Connection)
        except asyncpg.ProtocolViolationError as error:
            if _REFUSED_PARAMETER not in str(error):
                raise
            reason = str(error)
        else:
            if await self._has_mark(connection, path_query):
                return connection
            connection.terminate()
            reason = "it ignores the parameters of the session"
        _log.info("postgresql_has_a_pooler", reason=reason)
        self._has_pooler = True
        return None

    async def _has_mark(self, connection: asyncpg.Connection, path_query: str | None) -> bool:
        """Return whether the session is our own; its search path becomes what *path_query* finds."""
        set_path = "" if path_query is None else f", {_SET_PATH.format(path=path_query)}"
        try:
            # Without a name: a pooler may hand on statements of others.
            statement = await connection.prepare(f"SELECT {HAS_OWN_SESSION}{set_path}", name="")
            ((has_mark, *path),) = await statement.fetch()
        except BaseException:
            connection.terminate()
            raise
        if has_mark and path:
            self._keep_path(*path)
        return bool(has_mark)

    def _keep_path(self, path: str) -> None:
        """Give *path* to later sessions, so that they do not look for it: that takes milliseconds."""
        self._session["search_path"] = path
        self._path_query = None

    async def _open(
        self, place: int, target: str | None, session: dict[str, str], kind: type[asyncpg.Connection]
    ) -> Any:
        host, port = self._hosts[place]
        address = self._address
        options: dict[str, Any] = {"statement_cache_size": 0} if kind is PooledConnection else {}
        if address.uses_system_certificates:
            options["ssl"] = self._tls_context()
        try:
            return await asyncpg.connect(
                address.driver_url,
                host=host or None,
                port=port,
                user=address.user,
                password=self._read_password(),
                database=address.database,
                target_session_attrs=cast("Any", target),
                timeout=self._host_seconds,
                command_timeout=self._answer_seconds,
                server_settings=session,
                connection_class=kind,
                **options,
            )
        except ENDED_HANDSHAKES:
            raise
        except _MISCONFIGURED as error:
            raise _refusal(str(error)) from error
        except asyncpg.ProtocolViolationError as error:
            # PgBouncer has one SQLSTATE for everything.
            if not any(words in str(error) for words in _POOLER_REFUSALS):
                raise
            raise _refusal(str(error)) from error
        except ConnectionError as error:
            if _NO_TLS not in str(error):
                raise
            raise _refusal("the server has no TLS, which sslmode demands") from error

    def _read_password(self) -> str | None:
        file = self._address.password_file
        if file is None:
            return self._address.password
        try:
            return read_password(file)
        except OSError as error:
            raise DatabaseAwayError(f"the password file cannot be read: {error}") from error

    def _tls_context(self) -> ssl.SSLContext:
        """Return a context that trusts the authorities of the system, and checks the name of the host."""
        context = ssl.create_default_context()
        files, password = self._address.files, self._address.tls_key_password
        if certificate := files.get("sslcert"):
            context.load_cert_chain(certificate, files.get("sslkey"), password)
        return context


async def _fetch_value(connection: asyncpg.Connection, statement: str) -> Any:
    try:
        (row,) = await connection.fetch(statement)
    except BaseException:
        connection.terminate()
        raise
    return row[0]


def _refusal(reason: str) -> DatabaseMisconfiguredError:
    return DatabaseMisconfiguredError(reason, "connection refused by its settings")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
