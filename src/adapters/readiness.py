"""Checks whether the service can serve: PostgreSQL, the schema, Redis and a live worker."""

import asyncio
from collections.abc import Sequence
from typing import Final

from asyncpg import PostgresError, UndefinedColumnError, UndefinedTableError
from msgspec import Struct
from redis.asyncio import Redis

from headrace.adapters.messages import RefusedMessages
from headrace.adapters.redis_client import REDIS_ERRORS
from headrace.adapters.revisions import current_revision
from headrace.adapters.schema import SchemaBehindError, SchemaError, find_schema_fault
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

    `chore:NAME` in *degraded*: that periodic work fails in a worker. *schema_fault* says what to do about a
    missing `schema`.
    """

    missing: list[str]
    degraded: list[str]
    schema_fault: SchemaError | None = None


async def check_readiness(
    database: Database, redis: Redis | None, refused: RefusedMessages | None = None
) -> Readiness:
    """Check PostgreSQL and Redis; each has 3 s to answer. *refused* counts the messages of this process."""
    status = await _check_postgresql(database)
    degraded = [] if await _check_redis(redis) else ["redis"]
    if refused is not None and refused.is_refusing:
        degraded.append("redis_messages")
    if status is None:
        return Readiness(["postgresql"], degraded)
    if status.schema_fault is not None:
        return Readiness(["schema"], degraded, status.schema_fault)
    failing = dict.fromkeys(f"chore:{chore.name}" for chore in await _failing_chores(database))
    return Readiness([], [*degraded, *([] if status.has_worker else ["worker"]), *failing])


class _DatabaseStatus(Struct, frozen=True):
    schema_fault: SchemaError | None
    has_worker: bool


async def _check_postgresql(database: Database) -> _DatabaseStatus | None:
    """Return None if PostgreSQL does not answer."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            try:
                row = (await database.fetch(_STATUS_QUERY))[0]
            except (UndefinedTableError, UndefinedColumnError):
                fault = await find_schema_fault(database, await current_revision(database))
                return _DatabaseStatus(fault or SchemaBehindError(), has_worker=False)
            return _DatabaseStatus(await find_schema_fault(database, row["revision"]), bool(row["worker"]))
    except (TimeoutError, *TRANSIENT, PostgresError):
        return None


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
