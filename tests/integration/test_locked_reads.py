"""A call that changes a job reads only those JSON values that its answer shows."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.domain.accounts.reach import Reach
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs.errors import JobNotFinalError
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import IllegalTransitionError
from support.lease_driver import OWNER, job_spec, submit

REACH = Reach(OWNER)
LARGE = msgspec.json.encode({"a": "x" * 100_000}).decode()
FILL = """
UPDATE jobs SET params = CAST($2 AS text)::json, meta = CAST($2 AS text)::json WHERE id = $1
"""
END = """
UPDATE jobs SET state = CAST($2 AS text), finished_at = now(),
    result_step = CASE CAST($2 AS text) WHEN 'succeeded' THEN 'mix' END
WHERE id = $1
"""
STORE_OUTPUT = """
INSERT INTO step_runs (job_id, key, name, state, attempt, tries, output)
VALUES ($1, 'mix', 'mix', 'succeeded', 1, 1, CAST($2 AS text)::json)
"""
Call = Callable[[JobService, UUID], Awaitable[Any]]


async def stored_job(database: StatementPool, state: str) -> UUID:
    """Store a job in *state*, with large params and meta, and with the large output of a step."""
    (job_id,) = await submit(database, job_spec())
    await database.fetch(FILL, job_id, LARGE)
    await database.fetch(STORE_OUTPUT, job_id, LARGE)
    if state != "queued":
        await database.fetch(END, job_id, state)
    return job_id


async def json_bytes_read(
    engine: AsyncEngine, job_id: UUID, call: Call, refusal: type[HeadraceError] | None
) -> list[int]:
    """Return the sizes of the JSON values that PostgreSQL sends during *call*."""
    sizes: list[int] = []

    def decode(raw: bytes) -> msgspec.Raw:
        sizes.append(len(raw))
        return msgspec.Raw(raw)

    async with async_sessionmaker(engine, expire_on_commit=False)() as session:
        connection = await (await session.connection()).get_raw_connection()
        assert connection.driver_connection is not None
        await connection.driver_connection.set_type_codec(
            "json", schema="pg_catalog", format="binary", encoder=str.encode, decoder=decode
        )
        if refusal is None:
            await call(JobService(session=session), job_id)
        else:
            with pytest.raises(refusal):
                await call(JobService(session=session), job_id)
    return sizes


@pytest.mark.parametrize(
    ("state", "call", "refusal"),
    [
        ("succeeded", lambda jobs, job_id: jobs.cancel(job_id, REACH), IllegalTransitionError),
        ("failed", lambda jobs, job_id: jobs.cancel(job_id, REACH), IllegalTransitionError),
        ("succeeded", lambda jobs, job_id: jobs.retry(job_id, REACH), IllegalTransitionError),
        ("queued", lambda jobs, job_id: jobs.retry(job_id, REACH), IllegalTransitionError),
        ("queued", lambda jobs, job_id: jobs.delete(job_id, REACH), JobNotFinalError),
        ("succeeded", lambda jobs, job_id: jobs.delete(job_id, REACH), None),
        ("succeeded", lambda jobs, job_id: jobs.revoke_tokens(job_id, REACH), None),
    ],
)
async def test_a_call_whose_answer_shows_no_job_reads_no_values(
    database: StatementPool, engine: AsyncEngine, state: str, call: Call, refusal: type[HeadraceError] | None
) -> None:
    job_id = await stored_job(database, state)

    assert sum(await json_bytes_read(engine, job_id, call, refusal)) == 0


@pytest.mark.parametrize(
    ("state", "call"),
    [
        ("queued", lambda jobs, job_id: jobs.cancel(job_id, REACH)),
        ("failed", lambda jobs, job_id: jobs.retry(job_id, REACH)),
    ],
)
async def test_a_call_whose_answer_shows_the_job_reads_its_params_and_meta_once(
    database: StatementPool, engine: AsyncEngine, state: str, call: Call
) -> None:
    job_id = await stored_job(database, state)
    shown: list[Any] = []

    async def call_and_show(jobs: JobService, job_id: UUID) -> None:
        job = await call(jobs, job_id)
        shown.extend([bytes(job.params).decode(), bytes(job.meta).decode(), job.result])

    sizes = await json_bytes_read(engine, job_id, call_and_show, None)

    assert shown == [LARGE, LARGE, None]
    assert sizes == [len(LARGE)] * 2
