"""Lists that a user could grow without end have a limit, which another user's entries do not count for."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.domain.accounts.identity_repository import MAX_SESSIONS, IdentityRepository
from headrace.domain.presets.errors import MAX_PRESETS
from headrace.domain.tags.errors import MAX_TAGS
from headrace.settings import Settings
from support.harness import Api
from support.shared_api import problem
from support.users import Person, behind_proxy

_FILL_TAGS = """
INSERT INTO tags (id, owner_id, name, created_at, updated_at)
SELECT gen_random_uuid(), $1, 'tag ' || n, now(), now() FROM generate_series(1, $2::int) n
"""
_FILL_PRESETS = """
INSERT INTO presets (id, owner_id, title, pipeline, params, created_at, updated_at)
SELECT gen_random_uuid(), $1, 'preset ' || n, 'noop', '{}', now(), now() FROM generate_series(1, $2::int) n
"""


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


async def id_of(person: Person) -> UUID:
    return UUID((await person.ask("GET", "/me")).json()["id"])


async def submit(person: Person, *tags: str) -> httpx.Response:
    body: dict[str, Any] = {"pipeline": "noop", "tags": list(tags), "run_at": "2100-01-01T00:00:00Z"}
    return await person.ask("POST", "/jobs", json=body)


async def test_tags_have_a_limit(api: Api, database: StatementPool) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    job = await ada.submit(run_at="2100-01-01T00:00:00Z")
    await database.fetch(_FILL_TAGS, await id_of(ada), MAX_TAGS - 1)

    refusals = [
        await submit(ada, "new", "newer"),
        await ada.ask("PATCH", f"/jobs/{job}", json={"tags": ["new", "newer"]}),
        await ada.ask(
            "POST",
            "/presets",
            json={"title": "a", "pipeline": "noop", "params": {}, "tags": ["new", "newer"]},
        ),
    ]

    for refusal in refusals:
        assert f"at most {MAX_TAGS} tags" in problem(refusal, 409, "too_many_tags")["detail"]
    assert (await submit(ada, "new", "tag 1", "tag 2")).status_code == 202
    assert (await submit(ada, "tag 3", "tag 4")).status_code == 202
    problem(await ada.ask("POST", "/tags", json={"name": "newer"}), 409, "too_many_tags")
    assert (await submit(bob, "new", "newer")).status_code == 202


async def test_presets_have_a_limit(api: Api, database: StatementPool) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    await database.fetch(_FILL_PRESETS, await id_of(ada), MAX_PRESETS - 1)
    body = {"title": "mine", "pipeline": "noop", "params": {}}
    last = await ada.ask("POST", "/presets", json=body)

    refusal = await ada.ask("POST", "/presets", json={**body, "title": "another"})

    assert last.status_code == 201
    assert f"at most {MAX_PRESETS} presets" in problem(refusal, 409, "too_many_presets")["detail"]
    assert (await bob.ask("POST", "/presets", json=body)).status_code == 201


async def test_sessions_have_a_limit_and_the_oldest_end(
    api: Api, settings: Settings, database: StatementPool
) -> None:
    user_ids = [await id_of(Person(api, name)) for name in ("ada", "bob")]
    engine = build_engine(str(settings.database_url))
    sessions: list[UUID] = []
    for number in range(MAX_SESSIONS + 3):
        async with async_sessionmaker(engine).begin() as transaction:
            user_id = user_ids[number == 0]
            sessions.append((await IdentityRepository(transaction).insert_session(user_id))[0])
    await engine.dispose()

    rows = await database.fetch("SELECT id FROM login_sessions ORDER BY created_at")

    assert [row["id"] for row in rows] == [sessions[0], *sessions[3:]]
