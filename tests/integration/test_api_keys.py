"""API keys: shown once, limited to their scopes, unusable within a second of revocation."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, serving
from support.users import Person, bearer, behind_proxy

SOON = timedelta(seconds=1)


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "ada")


async def test_a_key_is_shown_once_and_stored_as_a_digest(
    api: Api, ada: Person, database: StatementPool
) -> None:
    api_key = await ada.key("jobs:read", "files:*")

    shown = (await ada.ask("GET", f"/api-keys/{api_key['id']}")).json()
    rows = await database.fetch("SELECT api_keys::text AS row FROM api_keys")

    assert shown == {name: value for name, value in api_key.items() if name != "key"}
    assert api_key["key"].startswith(api_key["prefix"] + "_")
    assert api_key["key"].removeprefix(api_key["prefix"]) not in rows[0]["row"]


async def test_a_key_grants_only_its_scopes(api: Api, ada: Person) -> None:
    job_id = await ada.submit()
    reader = bearer((await ada.key("jobs:read"))["key"])

    seen = await api.http.get(f"/api/v1/jobs/{job_id}", headers=reader)
    submitted = await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers=reader)
    uploaded = await api.http.post("/api/v1/files", files={"file": b"x"}, headers=reader)
    created = await api.http.post(
        "/api/v1/api-keys", json={"name": "x", "scopes": ["jobs:write"]}, headers=reader
    )

    assert seen.status_code == 200
    assert [response.status_code for response in (submitted, uploaded, created)] == [403, 403, 403]
    assert submitted.json()["detail"] == "the credential lacks the scope jobs:write"


async def test_the_files_wildcard_scope_grants_read_and_write(api: Api, ada: Person) -> None:
    files = bearer((await ada.key("files:*"))["key"])

    created = await api.http.post("/api/v1/files", files={"file": b"x"}, headers=files)
    content = await api.http.get(f"/api/v1/files/{created.json()['id']}/content", headers=files)

    assert (created.status_code, content.content) == (201, b"x")


async def test_a_revoked_key_is_refused_within_a_second_on_every_process(
    api: Api, ada: Person, settings: Settings
) -> None:
    api_key = await ada.key("jobs:read")
    async with serving(behind_proxy(settings)) as other:
        before = [
            await server.http.get("/api/v1/jobs", headers=bearer(api_key["key"])) for server in (api, other)
        ]

        revoked = await ada.ask("DELETE", f"/api-keys/{api_key['id']}")
        await asyncio.sleep(SOON.total_seconds())
        after = [
            await server.http.get("/api/v1/jobs", headers=bearer(api_key["key"])) for server in (api, other)
        ]

    assert [response.status_code for response in before] == [200, 200]
    assert revoked.status_code == 204
    assert [(response.status_code, response.json()["code"]) for response in after] == [
        (401, "token_invalid")
    ] * 2
    assert (await ada.ask("DELETE", f"/api-keys/{api_key['id']}")).status_code == 404


async def test_an_expired_key_is_refused_as_expired(api: Api, ada: Person, database: StatementPool) -> None:
    api_key = await ada.key("jobs:read", expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    await database.fetch("UPDATE api_keys SET expires_at = now() - interval '1 second'")

    response = await api.http.get("/api/v1/jobs", headers=bearer(api_key["key"]))

    assert (response.status_code, response.json()["code"]) == (401, "token_expired")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_a_key_shows_when_it_was_last_used(ada: Person, api: Api) -> None:
    api_key = await ada.key("jobs:read")
    assert api_key["last_used_at"] is None

    await api.http.get("/api/v1/jobs", headers=bearer(api_key["key"]))
    shown = (await ada.ask("GET", f"/api-keys/{api_key['id']}")).json()

    assert datetime.now(UTC) - datetime.fromisoformat(shown["last_used_at"]) < timedelta(minutes=1)


async def test_malformed_and_unknown_keys_are_refused(api: Api, ada: Person) -> None:
    key = (await ada.key("jobs:read"))["key"]
    wrong = [
        key[:-1] + ("a" if key[-1] != "a" else "b"),
        key[:20],
        key + "x",
        "hr_",
        "hr_" + "0" * 12 + "_x",
        key.upper(),
    ]

    responses = [await api.http.get("/api/v1/jobs", headers=bearer(token)) for token in wrong]
    basic = await api.http.get("/api/v1/jobs", headers={"Authorization": "Basic YTpi"})

    assert {(response.status_code, response.json()["code"]) for response in [*responses, basic]} == {
        (401, "token_invalid")
    }


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"scopes": []}, "$.scopes"),
        ({"scopes": ["everything"]}, "$.scopes[0]"),
        ({"scopes": ["account"]}, "$.scopes[0]"),
        ({"name": ""}, "$.name"),
        ({"name": "x" * 101}, "$.name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "$.expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "$.expires_at"),
    ],
)
async def test_an_invalid_key_request_names_the_bad_field(
    ada: Person, wrong: dict[str, object], path: str
) -> None:
    response = await ada.ask("POST", "/api-keys", json={"name": "x", "scopes": ["jobs:read"], **wrong})

    assert response.status_code == 422
    assert [fault["path"] for fault in response.json()["errors"]] == [path]


async def test_only_admins_can_create_keys_with_the_admin_scope(api: Api, ada: Person) -> None:
    root = Person(api, "root")
    foreign = await ada.submit()

    refused = await ada.ask("POST", "/api-keys", json={"name": "x", "scopes": ["admin"]})
    everything = bearer((await root.key("admin"))["key"])
    little = bearer((await root.key("jobs:read"))["key"])

    assert refused.status_code == 403
    assert (await api.http.get(f"/api/v1/jobs/{foreign}", headers=everything)).status_code == 200
    assert (await api.http.get("/api/v1/users", headers=everything)).status_code == 200
    assert (await api.http.get(f"/api/v1/jobs/{foreign}", headers=little)).status_code == 404
    assert (await api.http.get("/api/v1/users", headers=little)).status_code == 403
    # A key cannot create keys: otherwise access would outlive the key's expiry.
    assert (await api.http.get("/api/v1/api-keys", headers=everything)).status_code == 403


async def test_an_account_has_at_most_a_hundred_keys(ada: Person) -> None:
    for _ in range(100):
        await ada.key("jobs:read")

    response = await ada.ask("POST", "/api-keys", json={"name": "one more", "scopes": ["jobs:read"]})

    assert (response.status_code, response.json()["code"]) == (409, "too_many_keys")


async def test_concurrent_requests_cannot_exceed_the_key_limit(ada: Person, database: StatementPool) -> None:
    await ada.key("jobs:read")
    await database.fetch("""
        INSERT INTO api_keys (id, owner_id, name, prefix, digest, scopes, created_at, updated_at)
        SELECT gen_random_uuid(), owner_id, name, 'filling ' || place, digest, scopes, now(), now()
        FROM api_keys, generate_series(1, 97) AS place
    """)

    body = {"name": "of many", "scopes": ["jobs:read"]}
    responses = await asyncio.gather(*(ada.ask("POST", "/api-keys", json=body) for _ in range(20)))

    assert sorted(response.status_code for response in responses) == [201] * 2 + [409] * 18
    assert (await ada.ask("GET", "/api-keys")).json()["total"] == 100


async def test_admins_list_the_keys_of_any_user_and_users_only_their_own(api: Api, ada: Person) -> None:
    bob, root = Person(api, "bob"), Person(api, "root")
    key = await ada.key("jobs:read")
    await root.key("jobs:read")
    ada_id = (await ada.ask("GET", "/me")).json()["id"]

    listed = {
        name: (await person.ask("GET", "/api-keys", params={"owner": ada_id})).json()
        for name, person in {"ada": ada, "bob": bob, "root": root}.items()
    }
    roots_own = (await root.ask("GET", "/api-keys")).json()

    ids = {name: [item["id"] for item in page["items"]] for name, page in listed.items()}
    assert ids == {"ada": [key["id"]], "bob": [], "root": [key["id"]]}
    assert [page["total"] for page in listed.values()] == [1, 0, 1]
    assert (roots_own["total"], key["id"] in str(roots_own)) == (1, False)


async def test_an_owner_filter_that_is_not_an_id_is_refused(ada: Person) -> None:
    response = await ada.ask("GET", "/api-keys", params={"owner": "ada"})

    assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "query.owner")


async def test_keys_of_a_deleted_user_are_refused(api: Api, ada: Person, database: StatementPool) -> None:
    key = (await ada.key("jobs:read"))["key"]
    await database.fetch("DELETE FROM users WHERE username = 'ada'")

    response = await api.http.get("/api/v1/jobs", headers=bearer(key))

    assert response.status_code == 401
