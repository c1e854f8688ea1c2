"""A credential with one scope: what it may call, and what the answers to its writes show."""

from typing import Any

import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.every_route import NOT_HERE, ROUTES, Route, ask, objects
from support.harness import Api
from support.users import Person, bearer, behind_proxy

# Stored values that the requests of `every_route` do not contain.
SECRET = "known to readers only"
WRITES = [route for route in ROUTES if route.scope in ("jobs:write", "files:write")]
REFUSED = {(403, "makeJobToken"), (409, "retryJob"), (409, "deleteJob")}
SCOPES = ("jobs:read", "jobs:write", "files:read", "files:write")


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


@pytest.fixture
def ada(api: Api) -> Person:
    return Person(api, "ada")


async def secret_objects(ada: Person, database: StatementPool) -> dict[str, str]:
    """Create an object of each kind that holds the secret in each of its texts."""
    ids = await objects(ada)
    stored = '{"note": "%s"}' % SECRET  # noqa: UP031
    await database.fetch(
        "UPDATE jobs SET params = $1, meta = $1, result = $1, error = jsonb_build_object('code', 'x',"
        " 'message', $2::text, 'step', null) WHERE id = $3",
        *(stored, SECRET, ids["job_id"]),
    )
    await database.fetch(
        "UPDATE files SET name = $1, meta = $2 WHERE id = $3", SECRET, stored, ids["file_id"]
    )
    await database.fetch(
        "UPDATE presets SET title = $1, description = $1 WHERE id = $2", SECRET, ids["preset_id"]
    )
    await database.fetch("UPDATE tags SET name = $1 WHERE id = $2", SECRET, ids["tag_id"])
    return ids


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_scope_opens_its_routes_and_no_others(api: Api, ada: Person, scope: str) -> None:
    key = bearer((await ada.key(scope))["key"])

    for route in ROUTES:
        status, body = await ask(api, route, route.at(await objects(ada)), key)

        if route.operation == "makeJobToken":  # a token reads, so it needs jobs:read as well
            assert status == 403, (route, body)
        elif route.operation not in NOT_HERE:
            is_forbidden = status == (4403 if route.method == "WS" else 403)
            assert is_forbidden == (route.scope != scope), (route, body)


@pytest.mark.parametrize("route", WRITES, ids=str)
async def test_answers_to_writes_show_nothing_that_the_key_may_not_read(
    api: Api, ada: Person, database: StatementPool, route: Route
) -> None:
    ids = await secret_objects(ada, database)
    writer = bearer((await ada.key(route.scope))["key"])

    status, body = await ask(api, route, route.at(ids), writer)

    assert SECRET not in body, body
    assert status < 300 or (status, route.operation) in {
        (403, "makeJobToken"),
        (409, "retryJob"),
        (409, "deleteJob"),
    }, body


@pytest.mark.parametrize(
    ("kind", "path", "secret"),
    [("jobs", "job_id", "params"), ("presets", "preset_id", "title"), ("tags", "tag_id", "name")],
)
async def test_an_empty_patch_answers_the_object_to_its_readers_only(
    api: Api, ada: Person, database: StatementPool, kind: str, path: str, secret: str
) -> None:
    ids = await secret_objects(ada, database)
    writer = bearer((await ada.key("jobs:write"))["key"])
    reader = bearer((await ada.key("jobs:write", "jobs:read"))["key"])

    async def patch(headers: dict[str, str]) -> Any:
        response = await api.http.patch(f"/api/v1/{kind}/{ids[path]}", json={}, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    assert await patch(writer) == {"id": ids[path]}
    assert SECRET in str((await patch(reader))[secret])


async def test_a_run_of_a_preset_shows_its_params_to_readers_only(api: Api, ada: Person) -> None:
    preset = {"title": "ticks", "pipeline": "ticks", "params": {"count": 7}}
    preset_id = (await ada.ask("POST", "/presets", json=preset)).json()["id"]
    path = f"/api/v1/presets/{preset_id}/jobs"
    writer = bearer((await ada.key("jobs:write"))["key"]) | {"Idempotency-Key": "one"}
    reader = bearer((await ada.key("jobs:write", "jobs:read"))["key"]) | {"Idempotency-Key": "one"}

    shown = await api.http.post(path, headers=reader)
    hidden = [await api.http.post(path, headers=writer)]
    await ada.ask("DELETE", f"/presets/{preset_id}")
    hidden.append(await api.http.post(path, headers=writer))

    assert shown.json()["params"]["count"] == 7
    for response in hidden:
        assert (response.status_code, response.json()) == (202, {"id": shown.json()["id"]})
        assert response.headers["location"] == shown.headers["location"]
        assert response.headers["idempotency-replayed"] == "true"


async def test_a_submission_answers_what_was_sent(api: Api, ada: Person) -> None:
    writer = bearer((await ada.key("jobs:write"))["key"])
    body = {"pipeline": "ticks", "params": {"count": 3}, "meta": {"a": 1}}

    one = await api.http.post("/api/v1/jobs", json=body, headers=writer)
    batch = await api.http.post("/api/v1/jobs/batch", json={"jobs": [body]}, headers=writer)

    for job in (one.json(), batch.json()["items"][0]):
        assert (job["params"]["count"], job["meta"], job["state"]) == (3, {"a": 1}, "queued")
