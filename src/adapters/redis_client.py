"""The connection to Redis: built in one way, with a bound on every wait."""

import contextlib
from typing import Any, Final

from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from headrace.domain.errors import HeadraceError

# What goes wrong while Redis is away; redis-py lets some of the operating system's errors through.
REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)

_CONNECT_SECONDS: Final = 2
# What uvloop's closed transports and redis-py's closed connections raise instead of a ConnectionError.
_CLOSED: Final = (RuntimeError, AttributeError)
_ANSWER_SECONDS: Final = 5


class EvictingRedisError(HeadraceError):
    """This Redis may throw away what it was given."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Redis has maxmemory-policy {policy} and may drop rings at will; "
            "run: redis-cli CONFIG SET maxmemory-policy noeviction"
        )
        self.policy = policy


def build_redis(url: str, *, connections: int = 16) -> ArqRedis:
    """A client that connects when it is first used: Redis may be away when a process starts."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        socket_keepalive=True,
        health_check_interval=30,
    )
    pool.connection_class = _guarded(pool.connection_class)
    return ArqRedis(connection_pool=pool)


def _guarded(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """That kind of connection; what is written to a closed one fails as every lost connection does."""

    class Guarded(kind):  # type: ignore[misc,valid-type]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health=check_health)
            except _CLOSED as error:
                raise ConnectionError(f"the connection is closed: {error}") from error

    return Guarded


async def close_redis(redis: Redis) -> None:
    """Close the client and every connection of its pool."""
    with contextlib.suppress(*REDIS_ERRORS):
        await redis.aclose(close_connection_pool=True)


async def require_noeviction(redis: Redis) -> bool:
    """Check that Redis keeps what it is given. Returns False where it is away and nothing can be said.

    Raises:
        EvictingRedisError: its policy evicts.
    """
    try:
        memory = await redis.info("memory")
    except REDIS_ERRORS:
        return False
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise EvictingRedisError(policy)
    return True
