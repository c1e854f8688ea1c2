"""Checks whether the service can serve: PostgreSQL, the schema, Redis and a live worker."""

import asyncio
from collections.abc import Sequence
from typing import Final

from asyncpg import PostgresError, UndefinedTableError
from msgspec import Struct
from redis.asyncio import Redis

from headrace.adapters.migrations import newest_revision
from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.domain.chores.repository import ChoreRepository, FailingChore
from headrace.domain.database import TRANSIENT, Database

_TIMEOUT_SECONDS: Final = 3.0

_STATUS_QUERY: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision, EXISTS (
    SELECT 1 FROM workers WHERE last_seen_at > statement_timestamp() - interval '20 seconds'
) AS worker
"""


class Readiness(Struct, frozen=True):
    """The components that are away: *missing* ones stop the service, *degraded* ones slow it down.

    `chore:NAME` in *degraded*: that periodic work fails in a worker.
    """

    missing: list[str]
    degraded: list[str]


async def check_readiness(database: Database, redis: Redis | None) -> Readiness:
    """Check PostgreSQL and Redis; each has 3 s to answer."""
    revision, has_worker = await _check_postgresql(database)
    degraded = [] if await _check_redis(redis) else ["redis"]
    if revision is None:
        return Readiness(["postgresql"], degraded)
    if revision != newest_revision():
        return Readiness(["schema"], degraded)
    failing = dict.fromkeys(f"chore:{chore.name}" for chore in await _failing_chores(database))
    return Readiness([], [*degraded, *([] if has_worker else ["worker"]), *failing])


async def _check_postgresql(database: Database) -> tuple[str | None, bool]:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            row = (await database.fetch(_STATUS_QUERY))[0]
    except UndefinedTableError:
        return "", False
    except (TimeoutError, *TRANSIENT, PostgresError):
        return None, False
    return str(row["revision"]), bool(row["worker"])


async def _failing_chores(database: Database) -> Sequence[FailingChore]:
    """Return the chores whose last run in a worker failed; none if PostgreSQL does not say."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await ChoreRepository(database).fetch_failing()
    except (TimeoutError, *TRANSIENT, PostgresError):
        return ()


async def _check_redis(redis: Redis | None) -> bool:
    if redis is None:
        return False
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await redis.ping()
    except REDIS_ERRORS:
        return False
    return True
