"""The examples of docs/transactional-submit.md work as written."""

import asyncio
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from headrace.adapters.database import StatementPool
from support.doc_blocks import texts
from support.harness import Api
from support.transactional import connected, schema_of

PAGE = "docs/transactional-submit.md"


def on_schema(statements: str, schema: str) -> str:
    return statements.replace("headrace.", f"{schema}.").replace("SCHEMA headrace", f"SCHEMA {schema}")


def defined(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102  (our own page)
    return names


async def test_the_examples_run(service: Api, database: StatementPool, database_url: str) -> None:
    in_transaction, grant = texts(PAGE, "sql")
    with_asyncpg, with_session = map(defined, texts(PAGE, "python"))
    await service.http.get("/api/v1/me")

    async with connected(database_url) as connection:
        schema = await schema_of(connection)
        await connection.execute("CREATE TABLE orders (id int PRIMARY KEY, amount int NOT NULL)")
        await connection.execute("DO $$ BEGIN CREATE ROLE app; EXCEPTION WHEN duplicate_object THEN END $$")
        await connection.execute(on_schema(grant, schema))
        await connection.execute(on_schema(in_transaction, schema))
        job_id = await with_asyncpg["place_order"](connection, 8, schema)
        code = await with_asyncpg["place_bad_order"](connection, schema)
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))

    def place_with_session() -> str:
        with Session(engine) as session:
            return str(with_session["place_order"](session, 9, schema))

    by_session = await asyncio.to_thread(place_with_session)
    await asyncio.to_thread(engine.dispose)
    for one in (job_id, by_session):
        assert (await service.finish(one))["state"] == "succeeded"
    jobs = (await service.http.get("/api/v1/jobs")).json()
    orders = await database.fetch("SELECT id FROM orders ORDER BY id")

    assert code == "pipeline_unknown"
    assert [row["id"] for row in orders] == [7, 8, 9]
    assert jobs["total"] == 5
    assert (await service.job(by_session))["priority"] == 7
    assert (await service.http.get("/api/v1/jobs", params={"tag": "orders"})).json()["total"] == 3
