"""Asks each service with a new connection whether it can be used: to read, to write, to log in."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from asyncpg import PostgresError, UndefinedTableError
from redis.asyncio import Redis

from headrace.adapters.blob_store import probe_store
from headrace.adapters.database import StatementPool
from headrace.adapters.database_errors import trouble_of_check
from headrace.adapters.outages import Outage, Outages
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.redis_checks import find_refusal
from headrace.adapters.redis_client import REDIS_ERRORS, build_redis, close_redis
from headrace.adapters.redis_errors import redis_trouble
from headrace.adapters.redis_url import RedisAddress, parse_redis_url
from headrace.adapters.store_errors import StoreError
from headrace.domain.conditions import Condition, Trouble
from headrace.domain.database import TRANSIENT, Database

_PROBE_SECONDS: Final = 3.0
# No job has this id. The look-up waits behind a lock of the table, as every request does.
_DATABASE_PROBE: Final = """
SELECT current_setting('transaction_read_only')::boolean AS is_read_only, EXISTS (
    SELECT FROM jobs WHERE id = '00000000-0000-0000-0000-000000000000'
) AS is_job
"""
_REDIS_KEY: Final = "headrace:probe"
READ_ONLY: Final = Trouble(Condition.READ_ONLY, "transaction_read_only is on")


async def probe_database(address: PostgresAddress) -> Trouble | None:
    """Connect to PostgreSQL and return what is wrong with it; a schema that does not fit is not."""
    pool = await StatementPool.open(address, size=1, answer_seconds=_PROBE_SECONDS)
    try:
        return await find_database_trouble(pool)
    finally:
        await pool.close()


async def find_database_trouble(database: Database) -> Trouble | None:
    """Return what is wrong with PostgreSQL for *database*; None if it answers and accepts writes."""
    try:
        (row,) = await database.fetch(_DATABASE_PROBE)
    except UndefinedTableError:
        return None
    except (*TRANSIENT, PostgresError) as error:
        return trouble_of_check(error)
    return READ_ONLY if row["is_read_only"] else None


async def probe_redis(address: RedisAddress) -> Trouble | None:
    """Connect to Redis and return what is wrong with it."""
    redis = build_redis(address, connections=1)
    try:
        return await find_redis_trouble(redis)
    finally:
        await close_redis(redis)


async def find_redis_trouble(redis: Redis) -> Trouble | None:
    """Try what is used, and write a key that expires at once; return what is wrong, None if nothing is."""
    try:
        refusal = await find_refusal(redis)
        if refusal is None:
            await redis.set(_REDIS_KEY, "", px=1)
    except REDIS_ERRORS as error:
        return redis_trouble(error)
    return None if refusal is None else refusal.trouble


async def find_store_trouble(folder: Path) -> Trouble | None:
    """Write a file to the store of files; return what is wrong with it, None if nothing is."""
    try:
        await asyncio.to_thread(probe_store, folder)
    except StoreError as error:
        return error.trouble
    return None


def build_outages(database: PostgresAddress, redis: RedisAddress | None, blob_dir: Path) -> Outages:
    """Build the outages of a process, to which its connections report; `Outages.run` follows them."""
    return Outages(
        postgresql=Outage("postgresql", partial(probe_database, database)),
        redis=Outage("redis", partial(probe_redis, redis or parse_redis_url("redis://"))),
        storage=Outage("storage", partial(find_store_trouble, blob_dir)),
    )
