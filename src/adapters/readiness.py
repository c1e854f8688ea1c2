"""Whether the service can serve: what is there, what is away, what can be done without."""

import asyncio
from typing import Final

from asyncpg import UndefinedTableError
from msgspec import Struct
from redis.asyncio import Redis

from headrace.adapters.migrations import newest_revision
from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.domain.database import TRANSIENT, Database

_SECONDS: Final = 3.0

_LOOK: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision, EXISTS (
    SELECT 1 FROM workers WHERE last_seen_at > statement_timestamp() - interval '20 seconds'
) AS worker
"""


class Readiness(Struct, frozen=True):
    """*missing*: without it nothing goes; *degraded*: slower, or waiting, without it."""

    missing: list[str]
    degraded: list[str]


async def check_readiness(database: Database, redis: Redis | None) -> Readiness:
    """Ask PostgreSQL and Redis; each has 3 s to answer."""
    revision, has_worker = await _ask_postgresql(database)
    degraded = [] if await _has_redis(redis) else ["redis"]
    if revision is None:
        return Readiness(["postgresql"], degraded)
    if revision != newest_revision():
        return Readiness(["schema"], degraded)
    return Readiness([], degraded if has_worker else [*degraded, "worker"])


async def _ask_postgresql(database: Database) -> tuple[str | None, bool]:
    try:
        async with asyncio.timeout(_SECONDS):
            row = (await database.fetch(_LOOK))[0]
    except (TimeoutError, *TRANSIENT):
        return None, False
    except UndefinedTableError:
        return "", False
    return str(row["revision"]), bool(row["worker"])


async def _has_redis(redis: Redis | None) -> bool:
    if redis is None:
        return False
    try:
        async with asyncio.timeout(_SECONDS):
            await redis.ping()
    except REDIS_ERRORS:
        return False
    return True
