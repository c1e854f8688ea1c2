"""Checks whether the service can serve: PostgreSQL, the schema, Redis, the store and a live worker."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from asyncpg import PostgresError, UndefinedColumnError, UndefinedTableError
from msgspec import Struct
from redis.asyncio import Redis

from headrace.adapters.database_errors import trouble_of_check
from headrace.adapters.messages import RefusedMessages
from headrace.adapters.outages import Outage, Outages
from headrace.adapters.probes import find_database_trouble, find_redis_trouble
from headrace.adapters.redis_errors import redis_trouble
from headrace.adapters.revisions import current_revision
from headrace.adapters.schema import SchemaBehindError, SchemaError, find_schema_fault
from headrace.adapters.tasks import retrieve_exception
from headrace.domain.chores.repository import ChoreRepository, FailingChore
from headrace.domain.conditions import Condition, Trouble
from headrace.domain.database import TRANSIENT, Database

_TIMEOUT_SECONDS: Final = 3.0
# Everybody may ask for readiness, and a check of the store writes a file.
_STORE_CHECK_SECONDS: Final = 1.0

_STATUS_QUERY: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision, EXISTS (
    SELECT 1 FROM workers WHERE last_seen_at > statement_timestamp() - interval '20 seconds'
) AS worker
"""


class Readiness(Struct, frozen=True):
    """The services that cannot be used: *missing* ones stop this one, *degraded* ones slow it down.

    An entry names the service, and after a colon what is wrong if it is not away: `postgresql: read-only`.
    `chore:NAME` in *degraded*: that periodic work fails in a worker. *schema_fault* says what to do about a
    missing `schema`.
    """

    missing: list[str]
    degraded: list[str]
    schema_fault: SchemaError | None = None


def shared_check(check: Callable[[], Coroutine[Any, Any, Readiness]]) -> Callable[[], Awaitable[Readiness]]:
    """Return *check* such that all who call it while it runs get the same result."""
    in_flight: asyncio.Task[Readiness] | None = None

    async def run() -> Readiness:
        nonlocal in_flight
        if in_flight is None or in_flight.done():
            in_flight = asyncio.create_task(check())
            in_flight.add_done_callback(retrieve_exception)
        return await asyncio.shield(in_flight)

    return run


async def check_readiness(
    database: Database,
    redis: Redis | None,
    refused: RefusedMessages | None = None,
    outages: Outages | None = None,
) -> Readiness:
    """Check PostgreSQL, Redis and the store of files; each has 3 s to answer.

    *refused* counts the messages of this process. Without its *outages* the store is not checked.
    """
    status = await _check_postgresql(database)
    if outages is not None and isinstance(status, Trouble):
        outages.postgresql.report_probe(status)
    degraded = await _check_redis(redis, outages)
    if outages is not None:
        await outages.storage.check(max_age=_STORE_CHECK_SECONDS)
        degraded += _entries(outages.storage)
    if refused is not None and refused.is_refusing:
        degraded.append("redis_messages")
    if isinstance(status, Trouble):
        return Readiness([status.entry("postgresql")], degraded)
    if outages is not None and (trouble := outages.postgresql.trouble) is not None:
        # Other statements of this process fail, or new connections.
        if trouble.condition is Condition.READ_ONLY:
            return Readiness([trouble.entry("postgresql")], degraded)
        degraded.insert(0, trouble.entry("postgresql"))
    if status.schema_fault is not None:
        return Readiness(["schema"], degraded, status.schema_fault)
    failing = dict.fromkeys(f"chore:{chore.name}" for chore in await _failing_chores(database))
    return Readiness([], [*degraded, *([] if status.has_worker else ["worker"]), *failing])


def _entries(outage: Outage) -> list[str]:
    return [] if outage.trouble is None else [outage.trouble.entry(outage.service)]


class _DatabaseStatus(Struct, frozen=True):
    schema_fault: SchemaError | None
    has_worker: bool


async def _check_postgresql(database: Database) -> _DatabaseStatus | Trouble:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            if (trouble := await find_database_trouble(database)) is not None:
                return trouble
            try:
                row = (await database.fetch(_STATUS_QUERY))[0]
            except (UndefinedTableError, UndefinedColumnError):
                fault = await find_schema_fault(database, await current_revision(database))
                return _DatabaseStatus(fault or SchemaBehindError(), has_worker=False)
            return _DatabaseStatus(await find_schema_fault(database, row["revision"]), bool(row["worker"]))
    except TimeoutError:
        return Trouble(Condition.SLOW, f"no answer within {_TIMEOUT_SECONDS:g} s")
    except (*TRANSIENT, PostgresError) as error:
        return trouble_of_check(error)


async def _failing_chores(database: Database) -> Sequence[FailingChore]:
    """Return the chores whose last run in a worker failed; none if PostgreSQL does not say."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await ChoreRepository(database).fetch_failing()
    except (TimeoutError, *TRANSIENT, PostgresError):
        return ()


async def _check_redis(redis: Redis | None, outages: Outages | None) -> list[str]:
    """Return the entries for Redis: none if it accepts writes and has not failed otherwise."""
    if redis is None:
        return ["redis"]
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            trouble = await find_redis_trouble(redis)
    except TimeoutError as error:
        trouble = redis_trouble(error)
    if outages is None:
        return [] if trouble is None else [trouble.entry("redis")]
    if trouble is not None:
        outages.redis.report_probe(trouble)
    return _entries(outages.redis)
