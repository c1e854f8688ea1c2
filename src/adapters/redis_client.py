"""Builds the Redis client, with a timeout on every wait."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from headrace.adapters.host_names import HOST_NAMES
from headrace.adapters.redis_errors import redis_trouble
from headrace.adapters.redis_parser import BoundedParser
from headrace.adapters.redis_url import RedisAddress, as_redis_address
from headrace.adapters.server_urls import read_password
from headrace.domain.conditions import Report, ignore_trouble

# Errors while Redis is away; redis-py does not translate all errors of the operating system.
REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)

_CONNECT_SECONDS: Final = 2
_CONNECTIONS: Final[dict[str, type[AbstractConnection]]] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": UnixDomainSocketConnection,
}
# uvloop's closed transports and redis-py's closed connections raise these instead of a ConnectionError.
_CLOSED: Final = (RuntimeError, AttributeError)
CLOSE_ERRORS: Final = (*REDIS_ERRORS, *_CLOSED)
_TIMEOUT_SECONDS: Final = 5


class UnexpectedReplyError(RedisError):
    """Redis has sent something that is no reply to the command, as a broken or foreign server does."""


class _PasswordFile(CredentialProvider):
    """Reads the password at each connection, so that it can be rotated."""

    def __init__(self, user: str | None, file: Path) -> None:
        self._user = user
        self._file = file

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        try:
            password = read_password(self._file)
        except OSError as error:
            raise ConnectionError(f"the password file cannot be read: {error}") from error
        return (self._user, password) if self._user else (password,)


class ReportingRedis(ArqRedis):
    """A client that knows who follows the outages of its Redis: see `report_failure`."""

    report: Report = staticmethod(ignore_trouble)


def report_failure(redis: Redis | None, error: Exception) -> None:
    """Report one of `REDIS_ERRORS` that *redis* has raised, for callers that go on without Redis."""
    if isinstance(redis, ReportingRedis):
        redis.report(redis_trouble(error))


def build_redis(
    address: RedisAddress | str, *, connections: int = 16, report: Report = ignore_trouble
) -> ArqRedis:
    """Build a client, from an address or its URL, that connects on first use.

    Redis may be away when a process starts.
    """
    address = as_redis_address(address)
    pool: BlockingConnectionPool = BlockingConnectionPool(
        connection_class=_with_closed_errors(_CONNECTIONS[address.scheme]),
        max_connections=connections,
        timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        health_check_interval=30,
        parser_class=BoundedParser,
        **_arguments(address),
    )
    redis = ReportingRedis(connection_pool=pool)
    redis.report = report
    return redis


def _arguments(address: RedisAddress) -> dict[str, Any]:
    arguments = dict(address.arguments)
    if address.scheme != "unix":
        arguments["socket_keepalive"] = True
        HOST_NAMES.keep([arguments["host"]])
    if address.password_file is not None:
        return arguments | {"credential_provider": _PasswordFile(address.user, address.password_file)}
    return arguments | {"username": address.user, "password": address.password}


def _with_closed_errors(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a subclass whose writes to a closed connection raise redis-py's ConnectionError."""

    class ClosedErrorConnection(kind):  # type: ignore[misc,valid-type]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health=check_health)
            except _CLOSED as error:
                raise ConnectionError(f"the connection is closed: {error}") from error

    return ClosedErrorConnection


@contextlib.contextmanager
def checked_reply() -> Iterator[None]:
    """Translate the errors of a reply with an unexpected shape, in redis-py's code and in ours.

    Raises:
        UnexpectedReplyError: the block did not get what it expects.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise UnexpectedReplyError(f"unexpected reply: {error!r}"[:200]) from error


async def close_redis(redis: Redis) -> None:
    """Close the client and every connection of its pool."""
    with contextlib.suppress(*CLOSE_ERRORS):
        await redis.aclose(close_connection_pool=True)
