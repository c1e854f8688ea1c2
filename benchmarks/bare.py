"""The baseline of POST /jobs: a Litestar handler that decodes a body and runs one INSERT."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import uvicorn
from litestar import Litestar, post
from msgspec import Struct


class Body(Struct):
    pipeline: str
    params: dict[str, Any]


class Inserted(Struct):
    id: str


@asynccontextmanager
async def open_pool(app: Litestar) -> AsyncGenerator[None, None]:
    pool = await asyncpg.create_pool(os.environ["HEADRACE_DATABASE_URL"], min_size=16, max_size=16)
    await pool.execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY, body text NOT NULL)")
    app.state.pool = pool
    try:
        yield
    finally:
        await pool.close()


@post("/jobs")
async def insert(data: Body) -> Inserted:
    row_id = uuid4()
    await app.state.pool.execute("INSERT INTO bare VALUES ($1, $2)", row_id, data.pipeline)
    return Inserted(str(row_id))


app = Litestar([insert], lifespan=[open_pool], openapi_config=None, logging_config=None)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
