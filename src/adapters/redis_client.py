"""Builds the Redis client, with a timeout on every wait."""

import contextlib
from typing import Any, Final

from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from headrace.domain.errors import HeadraceError

# Errors while Redis is away; redis-py does not translate all errors of the operating system.
REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)

_CONNECT_SECONDS: Final = 2
# uvloop's closed transports and redis-py's closed connections raise these instead of a ConnectionError.
_CLOSED: Final = (RuntimeError, AttributeError)
_TIMEOUT_SECONDS: Final = 5


class EvictingRedisError(HeadraceError):
    """Redis may evict keys under memory pressure."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Redis has maxmemory-policy {policy} and may drop rings; "
            "run: redis-cli CONFIG SET maxmemory-policy noeviction"
        )
        self.policy = policy


def build_redis(url: str, *, connections: int = 16) -> ArqRedis:
    """Build a client that connects on first use: Redis may be away when a process starts."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_keepalive=True,
        health_check_interval=30,
    )
    pool.connection_class = _with_closed_errors(pool.connection_class)
    return ArqRedis(connection_pool=pool)


def _with_closed_errors(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a subclass whose writes to a closed connection raise redis-py's ConnectionError."""

    class ClosedErrorConnection(kind):  # type: ignore[misc,valid-type]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health=check_health)
            except _CLOSED as error:
                raise ConnectionError(f"the connection is closed: {error}") from error

    return ClosedErrorConnection


async def close_redis(redis: Redis) -> None:
    """Close the client and every connection of its pool."""
    with contextlib.suppress(*REDIS_ERRORS):
        await redis.aclose(close_connection_pool=True)


async def require_noeviction(redis: Redis) -> bool:
    """Check that Redis does not evict keys. Returns False if Redis is away.

    Raises:
        EvictingRedisError: its maxmemory-policy evicts.
    """
    try:
        memory = await redis.info("memory")
    except REDIS_ERRORS:
        return False
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise EvictingRedisError(policy)
    return True
