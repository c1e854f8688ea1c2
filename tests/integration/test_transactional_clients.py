"""The helpers of the Python client: each submits with its driver, inside the transaction of its caller."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from headrace.adapters.database import StatementPool
from headrace_client import (
    AsyncpgJobs,
    AsyncPsycopgJobs,
    AsyncSessionJobs,
    ParamsRefusedError,
    PsycopgJobs,
    SessionJobs,
    SubmissionRefusedError,
    ValidatorMissingError,
)
from headrace_client.sql_calls import SqlCall
from support.harness import Api
from support.transactional import connected, schema_of


class Driver(msgspec.Struct):
    """A helper on an open transaction, and how that transaction ends."""

    jobs: Any
    commit: Callable[[], Any]
    rollback: Callable[[], Any]

    async def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a method of the helper, or end the transaction; those that block run in a thread."""
        if isinstance(self.jobs, PsycopgJobs | SessionJobs):
            return await asyncio.to_thread(function, *arguments, **named)
        return await function(*arguments, **named)


async def open_asyncpg(url: str, schema: str, stack: AsyncExitStack) -> Driver:
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    await connection.execute("BEGIN")
    return Driver(
        AsyncpgJobs(connection, schema=schema),
        partial(connection.execute, "COMMIT"),
        partial(connection.execute, "ROLLBACK; BEGIN"),
    )


async def open_psycopg(url: str, schema: str, stack: AsyncExitStack) -> Driver:
    connection = await asyncio.to_thread(psycopg.connect, url, row_factory=dict_row)
    stack.callback(connection.close)
    return Driver(PsycopgJobs(connection, schema=schema), connection.commit, connection.rollback)


async def open_async_psycopg(url: str, schema: str, stack: AsyncExitStack) -> Driver:
    connection = await psycopg.AsyncConnection.connect(url, row_factory=dict_row)
    stack.push_async_callback(connection.close)
    return Driver(AsyncPsycopgJobs(connection, schema=schema), connection.commit, connection.rollback)


async def open_session(url: str, schema: str, stack: AsyncExitStack) -> Driver:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    stack.callback(engine.dispose)
    session = Session(engine)
    stack.callback(session.close)
    return Driver(SessionJobs(session, schema=schema), session.commit, session.rollback)


def open_async_session(driver: str) -> "Open":
    async def open_it(url: str, schema: str, stack: AsyncExitStack) -> Driver:
        engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
        stack.push_async_callback(engine.dispose)
        session = AsyncSession(engine)
        stack.push_async_callback(session.close)
        return Driver(AsyncSessionJobs(session, schema=schema), session.commit, session.rollback)

    return open_it


Open = Callable[[str, str, AsyncExitStack], Awaitable[Driver]]
DRIVERS: dict[str, Open] = {
    "asyncpg": open_asyncpg,
    "psycopg": open_psycopg,
    "psycopg-async": open_async_psycopg,
    "sqlalchemy-psycopg": open_session,
    "sqlalchemy-async-psycopg": open_async_session("psycopg"),
    "sqlalchemy-asyncpg": open_async_session("asyncpg"),
}


@pytest.fixture(params=DRIVERS)
async def driver(request: pytest.FixtureRequest, api: Api, database_url: str) -> AsyncIterator[Driver]:
    async with connected(database_url) as connection:
        schema = await schema_of(connection)
    async with AsyncExitStack() as stack:
        yield await DRIVERS[request.param](database_url, schema, stack)


async def count_jobs(database: StatementPool) -> int:
    return int((await database.fetch("SELECT count(*) AS jobs FROM jobs"))[0]["jobs"])


async def test_jobs_exist_once_the_transaction_is_committed(
    driver: Driver, api: Api, database: StatementPool
) -> None:
    jobs = driver.jobs
    undone = await driver.call(jobs.submit, "noop")
    await driver.call(driver.rollback)
    run_at = datetime(2190, 1, 2, tzinfo=UTC)
    job_id = await driver.call(
        jobs.submit, "ticks", {"count": 5}, key="k", priority=7, tags=["t"], meta={"a%s:b": 1}, run_at=run_at
    )
    again = await driver.call(
        jobs.submit, "ticks", {"count": 5}, key="k", priority=7, tags=["t"], meta={"a%s:b": 1}, run_at=run_at
    )
    ids = await driver.call(
        jobs.submit_many, [{"pipeline": "noop"}, {"pipeline": "ticks", "params": {"count": 2}, "priority": 1}]
    )
    before = await count_jobs(database)
    await driver.call(driver.commit)

    job = await api.job(str(job_id))
    assert before == 0
    assert await count_jobs(database) == 3
    assert again == job_id
    assert undone not in (job_id, *ids)
    assert all(isinstance(each_id, UUID) for each_id in (job_id, *ids))
    assert (job["params"], job["priority"], job["tags"], job["meta"]) == (
        {"count": 5},
        7,
        ["t"],
        {"a%s:b": 1},
    )
    assert datetime.fromisoformat(job["run_at"]) == run_at
    assert [(await api.job(str(each_id)))["priority"] for each_id in ids] == [5, 1]


async def test_refusals_carry_the_code_of_the_api(driver: Driver) -> None:
    with pytest.raises(SubmissionRefusedError) as caught:
        await driver.call(driver.jobs.submit, "missing")

    assert (caught.value.status, caught.value.code) == (422, "pipeline_unknown")
    assert "'missing'" in caught.value.detail


async def test_other_errors_are_those_of_the_driver(driver: Driver) -> None:
    with pytest.raises(Exception, match="division by zero") as caught:
        await driver.call(driver.jobs._run, SqlCall("SELECT 1 / 0", ()))

    assert not isinstance(caught.value, SubmissionRefusedError)


async def test_params_are_checked_at_once_if_the_caller_wants_that(
    driver: Driver, api: Api, database: StatementPool
) -> None:
    jobs = driver.jobs
    with pytest.raises(ParamsRefusedError) as caught:
        await driver.call(jobs.submit, "ticks", {"count": "many"}, validate=True)
    with pytest.raises(ParamsRefusedError) as in_batch:
        await driver.call(
            jobs.submit_many,
            [{"pipeline": "ticks", "params": {"count": 1}}, {"pipeline": "ticks", "params": {"count": "x"}}],
            validate=True,
        )
    with pytest.raises(SubmissionRefusedError) as unknown:
        await driver.call(jobs.submit, "ticks", validate=True, version=9)
    # The transaction goes on.
    await driver.call(jobs.submit, "ticks", {"count": 1}, validate=True)

    assert [fault.path for fault in caught.value.errors] == ["$.params.count"]
    assert [fault.path for fault in in_batch.value.errors] == ["$.jobs[1].params.count"]
    assert unknown.value.code == "pipeline_unknown"


async def test_validation_needs_its_package(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(database_url) as connection:
        jobs = AsyncpgJobs(connection, schema=await schema_of(connection))
        monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
        with pytest.raises(ValidatorMissingError, match="jsonschema-rs"):
            await jobs.submit("noop", validate=True)
        assert isinstance(await jobs.submit("noop"), UUID)


@pytest.mark.parametrize("schema", ['a"; DROP', "", "a b", "a.b", "%s", ":x"])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(ValueError, match="name of a schema"):
        PsycopgJobs(None, schema=schema)


async def test_the_owner_of_the_helper_owns_its_jobs(api: Api, database_url: str) -> None:
    me = (await api.http.get("/api/v1/me")).json()
    async with connected(database_url) as connection:
        schema = await schema_of(connection)
        job_id = await AsyncpgJobs(connection, schema=schema, owner=UUID(me["id"])).submit("noop")
        with pytest.raises(SubmissionRefusedError) as caught:
            await AsyncpgJobs(connection, schema=schema, owner="nobody").submit("noop")

    assert (await api.job(str(job_id)))["owner_id"] == me["id"]
    assert caught.value.code == "user_not_found"
