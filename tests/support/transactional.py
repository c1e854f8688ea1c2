"""Submits jobs with the functions of the database, as another program does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def schema_of(connection: asyncpg.Connection) -> str:
    """Return the schema in which Headrace lies."""
    name: str = await connection.fetchval(
        "SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname = 'store_submission'"
    )
    return name


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection to the database *url* for the block; names are those of Headrace's schema."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET search_path = {await schema_of(connection)}")
        yield connection
    finally:
        await connection.close(timeout=5)


async def submit(connection: asyncpg.Connection, pipeline: str, params: Any = None, **options: Any) -> UUID:
    """Call `submit`; return the id of the job."""
    job_id: UUID = await connection.fetchval(
        "SELECT submit($1, $2::jsonb, $3::jsonb)",
        pipeline,
        encode({} if params is None else params),
        encode(options),
    )
    return job_id


async def submit_many(connection: asyncpg.Connection, jobs: Any, **options: Any) -> list[UUID]:
    """Call `submit_many`; return the ids of the jobs."""
    rows = await connection.fetch(
        "SELECT submit_many($1::jsonb, $2::jsonb) AS id", encode(jobs), encode(options)
    )
    return [row["id"] for row in rows]


def refusal(caught: "pytest.ExceptionInfo[asyncpg.PostgresError]") -> tuple[str | None, str]:
    """Return the SQLSTATE and the code of a refusal."""
    error: Any = caught.value
    return error.sqlstate, error.detail
