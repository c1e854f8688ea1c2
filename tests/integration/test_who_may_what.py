"""Access rights of every route and socket for every kind of caller, generated from the routes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from headrace.adapters.database import StatementPool
from headrace.api.middleware.access import PUBLIC, UnguardedRouteError, check_routes, is_public
from headrace.app import create_app
from headrace.settings import Settings
from support.every_route import BODIES, NOT_HERE, OBJECTS, ROUTES, Route, ask, objects
from support.harness import Api
from support.users import Person, bearer, behind_proxy

UNKNOWN_ID = str(uuid4())


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


def is_socket(route: Route) -> bool:
    return route.method == "WS"


def code(route: Route, status: int) -> int:
    """Return the status of a refusal on that kind of route."""
    return 4000 + status if is_socket(route) else status


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_has_test_objects_and_a_body(route: Route) -> None:
    assert set(route.parameters) <= set(OBJECTS)
    assert route.method in ("GET", "DELETE", "WS") or route.operation in BODIES


def test_a_route_without_a_scope_is_rejected() -> None:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))
    route = next(route for route in app.routes if route.path == "/api/v1/jobs")
    for handler in route.route_handlers:  # type: ignore[union-attr]
        handler.opt.pop("scope", None)

    with pytest.raises(UnguardedRouteError, match="/api/v1/jobs names no scope"):
        check_routes(app.routes)


def test_only_the_listed_routes_are_public() -> None:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))

    public = {route.path_format for route in app.routes if is_public(route.path_format)}

    below = tuple(path for path in PUBLIC if path.endswith("/") and path != "/")
    assert {path for path in public if not path.startswith(below)} <= set(PUBLIC)
    assert below == ("/docs/", "/graphql/explore/")
    assert not any(path.startswith("/api/") for path in public)


async def test_missing_and_expired_credentials_are_refused_on_every_route(
    api: Api, database: StatementPool
) -> None:
    ada = Person(api, "ada")
    ids = await objects(ada)
    expired_key = (await ada.key("jobs:read", expires_at=str(datetime.now(UTC) + timedelta(hours=1))))["key"]
    await database.fetch(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL"
    )

    for route in ROUTES:
        anonymous = await ask(api, route, route.at(ids), {})
        expired = await ask(api, route, route.at(ids), bearer(expired_key))

        assert anonymous[0] == code(route, 401), route
        assert "token_missing" in anonymous[1], route
        assert expired[0] == code(route, 401), route
        assert "token_expired" in expired[1], route


async def test_foreign_objects_look_like_missing_objects(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")

    for route in ROUTES:
        if route.is_for_admins or not set(route.parameters) - {"name", "tone_id"}:
            continue
        ids = await objects(ada)
        foreign = await ask(api, route, route.at(ids), bob.headers)
        missing = await ask(api, route, route.at(dict.fromkeys(ids, UNKNOWN_ID)), bob.headers)

        assert foreign[0] == code(route, 404), route
        assert _without(foreign[1], ids.values()) == _without(missing[1], [UNKNOWN_ID]), route


async def test_lists_contain_no_foreign_objects(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    ids = await objects(ada)

    for route in ROUTES:
        reads = route.method in ("GET", "WS") or route.operation == "queryGraph"
        if route.parameters or not reads or route.is_for_admins:
            continue
        status, body = await ask(api, route, route.path, bob.headers)

        assert status == 200, route
        assert '"errors"' not in body, route
        assert not [object_id for name, object_id in ids.items() if name != "name" and object_id in body], (
            route
        )


async def test_a_read_only_key_reads_and_changes_nothing(api: Api) -> None:
    ada = Person(api, "ada")
    reader = bearer((await ada.key("jobs:read", "files:read"))["key"])

    for route in ROUTES:
        ids = await objects(ada)
        status, _ = await ask(api, route, route.at(ids), reader)

        if route.operation in NOT_HERE:
            assert status == 404, route
        elif route.scope in ("jobs:read", "files:read"):
            assert status < 300, route
        else:
            assert status == code(route, 403), route


@pytest.mark.parametrize("who", ["ada", "root"])
async def test_owners_and_admins_are_allowed_on_their_routes(api: Api, who: str) -> None:
    for number, route in enumerate(ROUTES):
        # One of these routes deletes its user.
        ada = Person(api, f"ada{number}")
        caller = ada if who == "ada" else Person(api, who)
        ids = await objects(ada)
        status, body = await ask(api, route, route.at(ids), caller.headers)

        if route.operation in NOT_HERE:
            assert status == 404, route
        elif route.is_for_admins and who != "root":
            assert status == code(route, 403), route
        else:
            # 409: the caller may do it; only the state of the object forbids it.
            assert status < 300 or status == 409, (route, body)


async def test_responses_name_the_owner(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    owner_id = (await ada.ask("GET", "/me")).json()["id"]
    ids = await objects(ada)

    seen = [
        (await root.ask("GET", f"/{path}/{ids[name]}")).json()["owner_id"]
        for path, name in (("jobs", "job_id"), ("files", "file_id"), ("presets", "preset_id"))
    ]

    assert seen == [owner_id] * 3


async def test_an_admin_cannot_delete_or_demote_themselves(api: Api) -> None:
    root = Person(api, "root")
    own = (await root.ask("GET", "/me")).json()["id"]

    deleted = await root.ask("DELETE", f"/users/{own}")
    demoted = await root.ask("PATCH", f"/users/{own}", json={"is_admin": False})

    assert [response.json()["code"] for response in (deleted, demoted)] == ["own_account"] * 2


async def test_users_are_shown_as_admins_by_flag_username_or_email(api: Api) -> None:
    people = [
        Person(api, "ada"),
        Person(api, "bob"),
        Person(api, "x", "boss@example.com"),
        Person(api, "root"),
    ]
    ids = [(await person.ask("GET", "/me")).json()["id"] for person in people]
    root = people[-1]

    promoted = await root.ask("PATCH", f"/users/{ids[1]}", json={"is_admin": True})
    named = await root.ask("PATCH", f"/users/{ids[2]}", json={"is_admin": False})
    listed = (await root.ask("GET", "/users")).json()["items"]
    shown = [(await root.ask("GET", f"/users/{user_id}")).json() for user_id in ids]

    assert {user["username"]: user["is_admin"] for user in listed} == {
        "ada": False,
        "bob": True,
        "x": True,
        "root": True,
    }
    assert [user["is_admin"] for user in shown] == [False, True, True, True]
    assert [response.json()["is_admin"] for response in (promoted, named)] == [True, True]


async def test_a_just_deleted_user_is_refused(api: Api, database: StatementPool) -> None:
    ada = Person(api, "ada")
    await ada.submit()
    await database.fetch("DELETE FROM users WHERE username = 'ada'")

    responses = [
        await ada.ask("POST", "/jobs", json={"pipeline": "noop"}),
        await ada.ask("POST", "/files", files={"file": b"x"}),
        await ada.ask("POST", "/api-keys", json={"name": "x", "scopes": ["jobs:read"]}),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (401, "token_invalid")
    ] * 3


async def test_a_promoted_user_sees_foreign_jobs(api: Api) -> None:
    ada, bob, root = Person(api, "ada"), Person(api, "bob"), Person(api, "root")
    job_id = await ada.submit()
    bob_id = (await bob.ask("GET", "/me")).json()["id"]

    before = await bob.ask("GET", f"/jobs/{job_id}")
    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": True})
    await asyncio.sleep(1)
    after = await bob.ask("GET", f"/jobs/{job_id}")

    assert (before.status_code, after.status_code) == (404, 200)


def _without(body: str, ids: Any) -> str:
    """Replace the ids in the body, which differ from run to run."""
    for object_id in ids:
        body = body.replace(object_id, "*")
    return body
