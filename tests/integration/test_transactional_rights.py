"""The role of an application may submit jobs and do nothing else, whatever its session contains."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from support.harness import Api
from support.transactional import connected, schema_of, submit, submit_many

FUNCTIONS = "submit(text, jsonb, jsonb), submit_many(jsonb, jsonb), pipeline_schema(text, integer)"
INNER = (
    "SELECT store_submission('submit', '[{\"pipeline\": \"noop\"}]', '{}')",
    "SELECT refuse_submission(422, 'a', 'b')",
    "SELECT finish_submission()",
)


@pytest.fixture
async def role_url(api: Api, database: StatementPool, database_url: str) -> AsyncIterator[str]:
    """The URL of a new role without any right."""
    await api.submit("noop")
    name = f"app_{uuid4().hex[:8]}"
    await database.fetch(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    parts = urlsplit(database_url)
    place = parts.netloc.rpartition("@")[2]
    yield parts._replace(netloc=f"{name}:secret@{place}").geturl()
    await database.fetch(f"DROP OWNED BY {name}")
    await database.fetch(f"DROP ROLE {name}")


def name_of(role_url: str) -> str:
    return urlsplit(role_url).username or ""


async def test_nobody_may_submit_until_that_is_granted(role_url: str) -> None:
    async with connected(role_url) as connection:
        for statement in (
            "SELECT submit('noop', '{}')",
            "SELECT submit_many('[]')",
            "SELECT pipeline_schema('noop')",
            *INNER,
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_role_may_submit_and_nothing_else(
    api: Api, database: StatementPool, database_url: str, role_url: str
) -> None:
    await database.fetch(f"GRANT EXECUTE ON FUNCTION {FUNCTIONS} TO {name_of(role_url)}")

    async with connected(role_url) as connection:
        job_id = await submit(connection, "noop", tags=["by role"], idempotency_key="k")
        (in_batch,) = await submit_many(connection, [{"pipeline": "noop"}])
        schema = await connection.fetchval("SELECT pipeline_schema('ticks') -> 'params_schema' ->> '$ref'")
        for table in ("jobs", "users", "transactional_keys", "transactional_submissions", "pipelines"):
            for statement in (f"TABLE {table}", f"DELETE FROM {table}"):  # noqa: S608
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in INNER:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)

    assert (await api.job(str(job_id)))["tags"] == ["by role"]
    assert (await api.job(str(in_batch)))["state"] == "queued"
    assert schema is not None


async def test_objects_of_the_session_take_no_part(api: Api, database: StatementPool, role_url: str) -> None:
    role = name_of(role_url)
    await database.fetch(f"GRANT EXECUTE ON FUNCTION {FUNCTIONS} TO {role}")
    await database.fetch(f"CREATE SCHEMA {role} AUTHORIZATION {role}")

    async with connected(role_url) as connection:
        for table in ("users", "jobs", "job_changes", "pipelines", "job_quotas", "tags"):
            await connection.execute(f"CREATE TEMP TABLE {table} (id int)")
        await connection.execute(
            f"CREATE FUNCTION {role}.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$"
        )
        await connection.execute(f"SET search_path = {role}, pg_temp, {await schema_of(connection)}")
        job_id = await submit(connection, "noop", tags=["safe"])

    assert (await api.job(str(job_id)))["tags"] == ["safe"]


async def test_texts_are_values_wherever_they_stand(
    api: Api, database: StatementPool, database_url: str
) -> None:
    text = "'); DROP TABLE jobs; --\"$$%s"
    async with connected(database_url) as connection:
        job_id = await submit(
            connection, "noop", {text: text}, tags=[text], meta={text: text}, idempotency_key=text
        )
        for options in ({"owner": text}, {text: text}):
            with pytest.raises(asyncpg.PostgresError):
                await submit(connection, "noop", **options)
        with pytest.raises(asyncpg.PostgresError):
            await submit(connection, text)

    job = await api.job(str(job_id))
    assert (job["params"], job["meta"], job["tags"]) == ({text: text}, {text: text}, [text])
    (key,) = await database.fetch("SELECT key FROM transactional_keys")
    assert key["key"] == text


async def test_every_function_runs_on_the_schema_of_the_installation(database: StatementPool) -> None:
    rows = await database.fetch(
        "SELECT p.proname, p.prosecdef, p.proconfig::text AS config, p.proacl::text AS rights,"
        " p.pronamespace::regnamespace::text AS schema FROM pg_proc p WHERE p.proname = ANY($1)",
        ["submit", "submit_many", "pipeline_schema", "store_submission", "finish_submission"],
    )

    assert len(rows) == 5
    assert all(f"search_path={row['schema']}, pg_temp" in row["config"] for row in rows)
    assert {row["proname"] for row in rows if not row["prosecdef"]} == {"store_submission"}
    # PUBLIC would stand in front of an equals sign.
    assert not any("{=" in row["rights"] or ",=" in row["rights"] for row in rows)
