"""`submit` and `submit_many` store what `POST /jobs` stores, or nothing."""

from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from support.harness import Api
from support.shared_api import problem
from support.transactional import connected, refusal, submit, submit_many

# What differs between two jobs that were submitted one after the other.
_OWN = {"id", "created_at", "updated_at", "run_at", "due_order", "request_id"}
_WRITTEN = (
    "jobs",
    "job_changes",
    "tags",
    "job_tags",
    "transactional_keys",
    "transactional_submissions",
    "users",
)
TERMS: dict[str, Any] = {
    "priority": 8,
    "queue": "nightly",
    "max_attempts": 7,
    "timeout_seconds": 12.5,
    "tags": ["b", "a", "b"],
    "meta": {"order": "ä'\"; --"},
}


async def count_rows(database: StatementPool) -> dict[str, int]:
    return {
        table: (await database.fetch(f"SELECT count(*) AS rows FROM {table}"))[0]["rows"]  # noqa: S608
        for table in _WRITTEN
    }


async def stored(database: StatementPool, job_id: Any) -> dict[str, Any]:
    """Return a job's row, its event and its tags, without what only one job can have."""
    (row,) = await database.fetch("SELECT * FROM jobs WHERE id = $1", UUID(str(job_id)))
    job = dict(cast("Any", row))
    changes = await database.fetch("SELECT * FROM job_changes WHERE job_id = $1", job["id"])
    tags = await database.fetch(
        "SELECT t.name FROM job_tags l JOIN tags t ON t.id = l.tag_id WHERE l.job_id = $1 ORDER BY 1",
        job["id"],
    )
    waited = job["run_at"] - job["due_order"]
    return {
        **{name: value for name, value in job.items() if name not in _OWN},
        "due_after_run": str(waited),
        "is_created_now": job["created_at"] == job["updated_at"] <= job["run_at"],
        "changes": [(row["seq"], row["type"], row["body"], row["earlier"]) for row in changes],
        "tags": [row["name"] for row in tags],
    }


async def test_a_rollback_leaves_nothing(api: Api, database: StatementPool, database_url: str) -> None:
    await api.submit("noop")
    before = await count_rows(database)

    async with connected(database_url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await submit(connection, "noop", tags=["new"], idempotency_key="k")
        await submit_many(connection, [{"pipeline": "noop"}] * 3)
        await transaction.rollback()
    after_rollback = await count_rows(database)
    async with connected(database_url) as connection:
        job_id = await submit(connection, "noop", tags=["new"], idempotency_key="k")

    assert after_rollback == before
    assert (await api.job(str(job_id)))["tags"] == ["new"]
    assert [event["type"] for event in await api.events(str(job_id))] == ["job.queued"]


@pytest.mark.parametrize("pipeline", ["noop", "crunch"])
@pytest.mark.parametrize("terms", [{}, TERMS, {"run_at": "2190-01-01T00:00:00+02:00", "version": 1}])
async def test_a_job_is_stored_as_by_the_api(
    api: Api, database: StatementPool, database_url: str, pipeline: str, terms: dict[str, Any]
) -> None:
    params = {"seconds": 0.5} if pipeline == "crunch" else {}
    by_api = (await api.submit(pipeline, params=params, **terms))["id"]
    async with connected(database_url) as connection:
        by_sql = await submit(connection, pipeline, params, **terms)
        (in_batch,) = await submit_many(connection, [{"pipeline": pipeline, "params": params, **terms}])

    expected = await stored(database, by_api)
    for job_id in (by_sql, in_batch):
        row = await stored(database, job_id)
        # PostgreSQL writes JSON with blanks.
        for name in ("params", "meta"):
            row[name] = row[name].replace('": ', '":')
        assert row == expected
        assert job_id.version == 7
    shown = await api.job(str(by_sql))
    assert shown["run_at"] == (await api.job(by_api))["run_at"] or "run_at" not in terms


FAULTY: list[dict[str, Any]] = [
    {"pipeline": "missing"},
    {"pipeline": "noop", "version": 9},
    {"pipeline": "No Name"},
    {"pipeline": "noop", "version": 0},
    {"pipeline": "noop", "version": 2**31},
    {"pipeline": "noop", "priority": 10},
    {"pipeline": "noop", "priority": 5.5},
    {"pipeline": "noop", "queue": "a b"},
    {"pipeline": "noop", "queue": "q\n"},
    {"pipeline": "noop", "max_attempts": 1001},
    {"pipeline": "noop", "timeout_seconds": 0},
    {"pipeline": "noop", "run_at": "2030-01-01T00:00:00"},
    {"pipeline": "noop", "run_at": "1999-01-01T00:00:00Z"},
    {"pipeline": "noop", "run_at": 5},
    {"pipeline": "noop", "params": []},
    {"pipeline": "noop", "meta": "m"},
    {"pipeline": "noop", "meta": {"a": "x" * 262_144}},
    {"pipeline": "noop", "tags": "t"},
    {"pipeline": "noop", "tags": ["t"] * 51},
    {"pipeline": "noop", "tags": [" t"]},
    {"pipeline": "noop", "tags": ["t\nu"]},
    {"pipeline": "noop", "tags": ["t" * 65]},
    {"pipeline": "noop", "tags": [1]},
    {"pipeline": "noop", "priorty": 5},
]


@pytest.mark.parametrize("job", FAULTY, ids=lambda job: str(job)[:60])
async def test_a_fault_has_the_status_and_the_code_of_the_api(
    api: Api, database: StatementPool, database_url: str, job: dict[str, Any]
) -> None:
    answer = (await api.http.post("/api/v1/jobs", json=job)).json()
    options = {name: value for name, value in job.items() if name not in ("pipeline", "params")}

    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.PostgresError) as single:
            await submit(connection, job["pipeline"], job.get("params"), **options)
        with pytest.raises(asyncpg.PostgresError) as batch:
            await submit_many(connection, [{"pipeline": "noop"}, job])

    for caught in (single, batch):
        assert refusal(caught) == (f"JH{answer['status']}", answer["code"])
    assert "$.jobs[1]" in str(batch.value)
    assert (await database.fetch("SELECT count(*) AS rows FROM jobs"))[0]["rows"] == 0


def nested(levels: int) -> dict[str, Any]:
    value: Any = []
    for _ in range(levels - 1):
        value = {"a": value}
    assert isinstance(value, dict)
    return value


async def test_values_are_nested_as_deep_as_in_the_api(api: Api, database_url: str) -> None:
    async with connected(database_url) as connection:
        deep = await submit(connection, "noop", meta=nested(63))
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop", meta=nested(64))

    shown = await api.job(str(deep))
    accepted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop", "meta": nested(63)})
    refused = await api.http.post("/api/v1/jobs", json={"pipeline": "noop", "meta": nested(64)})
    assert shown["meta"] == nested(63)
    assert accepted.status_code == 202
    problem(refused, 422, "nested_too_deep")
    assert refusal(caught) == ("JH422", "nested_too_deep")


@pytest.mark.parametrize(
    "jobs", [[], [{"pipeline": "noop"}] * 1001, {}, None, ["noop"], [[{"pipeline": "noop"}]]]
)
async def test_a_batch_is_an_array_of_up_to_1000_objects(api: Api, database_url: str, jobs: Any) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit_many(connection, jobs)

    assert refusal(caught) == ("JH422", "validation_failed")


async def test_a_batch_keeps_its_order(api: Api, database: StatementPool, database_url: str) -> None:
    async with connected(database_url) as connection:
        ids = await submit_many(
            connection, [{"pipeline": "noop", "meta": {"n": number}} for number in range(1000)]
        )

    rows = await database.fetch("SELECT id, (meta ->> 'n')::int AS number FROM jobs ORDER BY id")
    assert [row["id"] for row in rows] == ids
    assert [row["number"] for row in rows] == list(range(1000))


async def test_jobs_belong_to_the_owner_that_is_named(api: Api, database_url: str) -> None:
    me = (await api.http.get("/api/v1/me")).json()

    async with connected(database_url) as connection:
        ids = [
            await submit(connection, "noop"),
            await submit(connection, "noop", owner=me["username"]),
            await submit(connection, "noop", owner=me["id"]),
        ]
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop", owner="' OR true --")

    assert {(await api.job(str(job_id)))["owner_id"] for job_id in ids} == {me["id"]}
    assert refusal(caught) == ("JH404", "user_not_found")


async def test_without_users_a_job_belongs_to_the_local_user(api: Api, database_url: str) -> None:
    async with connected(database_url) as connection:
        job_id = await submit(connection, "noop")

    assert (await api.job(str(job_id)))["owner_id"] == (await api.http.get("/api/v1/me")).json()["id"]


async def test_the_owner_must_be_named_if_there_is_no_local_user(
    api: Api, database: StatementPool, database_url: str
) -> None:
    await api.http.get("/api/v1/me")
    await database.fetch("UPDATE users SET username = 'ada'")

    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop")

    assert refusal(caught) == ("JH404", "user_not_found")


async def test_a_name_like_the_id_of_another_user_or_like_the_local_user_gets_no_jobs(
    api: Api, database: StatementPool, database_url: str
) -> None:
    me = (await api.http.get("/api/v1/me")).json()["id"]
    await database.fetch(
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, false, now(), now())",
        me,
    )

    async with connected(database_url) as connection:
        job_id = await submit(connection, "noop", owner=me)
        # As if the user had signed in with the name of the local user.
        await database.fetch(
            "INSERT INTO identities (id, user_id, provider, subject, created_at, updated_at)"
            " VALUES (gen_random_uuid(), $1, 'tone3000', '1', now(), now())",
            UUID(me),
        )
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop")

    assert (await api.job(str(job_id)))["owner_id"] == me
    assert refusal(caught) == ("JH404", "user_not_found")


async def test_params_that_do_not_fit_fail_the_job(service: Api, database_url: str) -> None:
    async with connected(database_url) as connection:
        job_id = await submit(connection, "ticks", {"count": "many"})

    job = await service.finish(str(job_id))

    assert (job["state"], job["error"]["code"]) == ("failed", "params_invalid")
    assert "$.count" in job["error"]["message"]


async def test_numbers_that_no_float_can_hold_fail_the_job_and_can_be_shown(
    service: Api, database_url: str
) -> None:
    async with connected(database_url) as connection:
        job_id = await connection.fetchval(
            "SELECT submit('ticks', $1::jsonb)", '{"count": 1e400, "interval_ms": 1}'
        )

    job = await service.finish(str(job_id))

    assert (job["state"], job["error"]["code"]) == ("failed", "params_invalid")
    assert (await service.http.get("/api/v1/jobs")).status_code == 200
