"""Headrace in a schema of its own: beside other tables, beside another installation, where it always was."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.installed_schema import fetch_schema_name
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.readiness import check_readiness
from headrace.adapters.servers import Servers
from headrace.cli.doctor_servers import check_database
from headrace.cli.errors import DatabaseRefusedError
from headrace.cli.migrate import bring_up_to_date
from headrace.cli.start_checks import check_start
from headrace.domain.accounts.identity_repository import IdentityRepository
from headrace.domain.base import METADATA
from headrace.domain.database import DatabaseMisconfiguredError
from headrace.domain.events.partition_mover import PartitionMover
from headrace.domain.events.partitions import lowest_id_at, months_from
from headrace.settings import Settings
from support.harness import new_database, on_database, serving, working
from support.patience import PATIENCE_SECONDS

APPLICATION: Final = (
    "CREATE TABLE public.users (name text PRIMARY KEY)",
    "CREATE TABLE public.files (path text PRIMARY KEY)",
    "CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)",
    "INSERT INTO public.alembic_version VALUES ('f00dfeed')",
)
TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = $1"


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """A database without any schema of Headrace, of a role whose name is not that of a schema."""
    server = str(servers.database_url)
    await execute(server, "CREATE ROLE somebody SUPERUSER LOGIN PASSWORD 'pw'")
    async with new_database(server, "template1") as url:
        yield as_role(url, "somebody")
    await execute(server, "DROP ROLE somebody")


def as_role(url: str, role: str) -> str:
    return f"postgresql://{role}:pw@{url.rpartition('@')[2]}"


def in_schema(url: str, schema: str | None) -> PostgresAddress:
    return parse_postgres_url(url, schema=schema)


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def tables_in(url: str, schema: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["tablename"] for row in await connection.fetch(TABLES, schema)}
    finally:
        await connection.close()


async def schema_of(address: PostgresAddress | str) -> set[str]:
    """Return the schemas that a pool and an engine use."""
    pool, engine = await StatementPool.open(address, size=1), build_engine(address)
    try:
        by_pool = await fetch_schema_name(pool)
        async with engine.connect() as connection:
            return {by_pool, str((await connection.execute(text("SELECT current_schema()"))).scalar_one())}
    finally:
        await pool.close()
        await engine.dispose()


async def migrate(address: PostgresAddress | str) -> None:
    await asyncio.to_thread(bring_up_to_date, address)


async def run_a_job(settings: Settings) -> tuple[str, list[str], dict[str, Any]]:
    """Run a job. Return its state, the ids of all jobs, and the readiness."""
    async with working(settings), serving(settings) as api:
        finished = await api.finish((await api.submit("noop"))["id"])
        listed = (await api.http.get("/api/v1/jobs")).json()["items"]
        ready: dict[str, Any] = (await api.http.get("/health/ready")).json()
    return finished["state"], [job["id"] for job in listed], ready


async def test_two_installations_live_beside_an_application_in_one_database(
    empty_url: str, settings: Settings, tmp_path: Path
) -> None:
    await execute(empty_url, *APPLICATION)
    first = msgspec.structs.replace(settings, database_url=empty_url)
    second = msgspec.structs.replace(
        first,
        database_schema="Jobs-2",
        redis_url=on_database(str(settings.redis_url), "1"),
        data_dir=tmp_path / "second",
    )
    for each in (first, second):
        await migrate(each.database)
        await asyncio.to_thread(check_start, each, "127.0.0.1")

    both = await asyncio.gather(run_a_job(first), run_a_job(second))
    findings = [finding for each in (first, second) for finding in await check_database(each)]

    assert [(state, len(ids), ready["degraded"]) for state, ids, ready in both] == [("succeeded", 1, [])] * 2
    assert both[0][1] != both[1][1]
    assert await tables_in(empty_url, "public") == {"users", "files", "alembic_version"}
    for schema in ("headrace", "Jobs-2"):
        assert set(METADATA.tables) < await tables_in(empty_url, schema)
        assert any(finding.text == f"this release can work with the schema {schema}" for finding in findings)
    assert [finding for finding in findings if not finding.ok] == []


async def test_a_connection_that_opens_while_another_finds_the_schema_uses_it(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_url)
    connector = PostgresConnector(parse_postgres_url(empty_url), {}, answer_seconds=PATIENCE_SECONDS)
    opened, found = asyncio.Event(), asyncio.Event()
    open_at_once = connector._open

    async def open_and_wait(*arguments: Any) -> Any:
        connection = await open_at_once(*arguments)
        if not opened.is_set():
            opened.set()
            await found.wait()
        return connection

    monkeypatch.setattr(connector, "_open", open_and_wait)
    first = asyncio.create_task(connector.connect())
    await opened.wait()
    connections = [await connector.connect()]
    found.set()
    connections.append(await first)
    names = [await connection.fetchval("SELECT current_schema()") for connection in connections]
    for connection in connections:
        await connection.close()

    assert names == ["headrace", "headrace"]


async def test_what_exists_stays_where_it_is(empty_url: str, servers: Servers) -> None:
    # As a release without the setting has left it.
    await asyncio.to_thread(AlembicCommands(in_schema(empty_url, "public")).upgrade, "0013")

    await migrate(empty_url)
    schemas = await schema_of(empty_url)
    # Another installation takes the name of the default.
    await migrate(in_schema(empty_url, "headrace"))

    # A role of that name has it in its search path, before `public`.
    namesake = on_database(str(servers.database_url), empty_url.rpartition("/")[2])

    assert schemas == await schema_of(empty_url) == await schema_of(namesake) == {"public"}
    assert await schema_of(in_schema(empty_url, "headrace")) == {"headrace"}
    assert set(METADATA.tables) < await tables_in(empty_url, "public")


async def test_a_new_installation_stays_when_another_appears_in_its_search_path(empty_url: str) -> None:
    await migrate(empty_url)

    await migrate(in_schema(empty_url, "public"))

    assert await schema_of(empty_url) == {"headrace"}
    assert await schema_of(in_schema(empty_url, "public")) == {"public"}


async def test_a_search_path_in_the_url_names_the_schema(empty_url: str) -> None:
    await execute(empty_url, *APPLICATION)
    url = f"{empty_url}?options=-c%20search_path%3Dnone,other,public"

    with pytest.raises(DatabaseRefusedError, match="no schema of search_path=none exists"):
        await migrate(f"{empty_url}?options=-c%20search_path%3Dnone")
    await execute(empty_url, "CREATE SCHEMA other")
    await migrate(url)

    assert await schema_of(url) == {"other"}
    assert await schema_of(in_schema(url, "headrace")) == {"headrace", "None"}
    assert await tables_in(empty_url, "public") == {"users", "files", "alembic_version"}


@pytest.fixture
async def plain_url(empty_url: str) -> AsyncIterator[str]:
    """A URL of a role that may create nothing in the database."""
    await execute(
        empty_url, "CREATE ROLE plain LOGIN PASSWORD 'pw'", "REVOKE ALL ON SCHEMA public FROM public"
    )
    yield as_role(empty_url, "plain")
    await execute(empty_url, "DROP OWNED BY plain", "DROP ROLE plain")


async def refusal_of(address: PostgresAddress | str) -> str:
    with pytest.raises(DatabaseRefusedError) as refused:
        await migrate(address)
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_a_role_without_a_right_is_told_the_statement_that_helps(
    plain_url: str, empty_url: str
) -> None:
    missing = await refusal_of(plain_url)
    await execute(empty_url, "CREATE SCHEMA headrace")
    unusable = await refusal_of(plain_url)
    await execute(empty_url, "GRANT USAGE ON SCHEMA headrace TO plain")
    unwritable = await refusal_of(plain_url)
    await execute(empty_url, "DROP SCHEMA headrace")
    await execute(empty_url, missing.partition("an administrator runs there: ")[2])
    await migrate(plain_url)

    assert "the role plain may not create the schema headrace in the database" in missing
    assert unusable.endswith('an administrator runs: GRANT USAGE ON SCHEMA "headrace" TO "plain"')
    assert "permission denied for schema headrace; the role that migrates needs CREATE" in unwritable
    assert set(METADATA.tables) < await tables_in(empty_url, "headrace")


async def test_a_role_that_may_not_use_the_schema_is_refused_by_name(
    plain_url: str, empty_url: str, settings: Settings
) -> None:
    await migrate(empty_url)
    await execute(empty_url, "REVOKE USAGE ON SCHEMA headrace FROM PUBLIC")
    refused = msgspec.structs.replace(settings, database_url=plain_url)
    words = "the role plain may not use the schema headrace"

    pool = await StatementPool.open(plain_url, size=1)
    readiness = await check_readiness(pool, None)
    await pool.close()
    findings = await check_database(refused)
    with pytest.raises(DatabaseRefusedError, match=words):
        await asyncio.to_thread(check_start, refused, "127.0.0.1")
    with pytest.raises(DatabaseMisconfiguredError, match="missing rights"):
        async with working(refused):
            pass

    assert readiness.missing == ["postgresql: missing rights"]
    assert [words in finding.text for finding in findings] == [True]


async def test_two_installations_do_not_wait_for_each_other(empty_url: str) -> None:
    await migrate(empty_url)
    await migrate(in_schema(empty_url, "other"))
    start, end = months_from(datetime(2040, 1, 1, tzinfo=UTC), 2)
    month = (f"job_changes_{start:%Y_%m}", lowest_id_at(start), lowest_id_at(end))
    held = await asyncpg.connect(empty_url, server_settings={"search_path": "headrace"})
    pool = await StatementPool.open(in_schema(empty_url, "other"), size=1)
    engines = [build_engine(in_schema(empty_url, schema)) for schema in ("headrace", "other")]
    first, second = (async_sessionmaker(engine)() for engine in engines)

    async with held.transaction(), asyncio.timeout(PATIENCE_SECONDS):
        await PartitionMover(held).move(*month)
        await PartitionMover(pool).move(*month)
        await IdentityRepository(first).lock("corp", "1")
        await IdentityRepository(second).lock("corp", "1")
        # PostgreSQL ends a session that holds a lock for seconds.
        await first.execute(text("SELECT 1"))

    for session in (first, second):
        await session.close()
    for engine in engines:
        await engine.dispose()
    await pool.close()
    await held.close()

    assert month[0] in await tables_in(empty_url, "headrace") & await tables_in(empty_url, "other")
