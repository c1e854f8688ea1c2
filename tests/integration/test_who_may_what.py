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

NOBODYS = str(uuid4())


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


def is_socket(route: Route) -> bool:
    return route.method == "WS"


def code(route: Route, status: int) -> int:
    """Return the status of a refusal on that kind of route."""
    return 4000 + status if is_socket(route) else status


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_is_known_here(route: Route) -> None:
    assert set(route.parameters) <= set(OBJECTS)
    assert route.method in ("GET", "DELETE", "WS") or route.operation in BODIES


def test_a_route_that_says_nothing_is_not_built() -> None:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))
    route = next(route for route in app.routes if route.path == "/api/v1/jobs")
    for handler in route.route_handlers:  # type: ignore[union-attr]
        handler.opt.pop("scope", None)

    with pytest.raises(UnguardedRouteError, match="/api/v1/jobs names no scope"):
        check_routes(app.routes)


def test_the_public_routes_are_these() -> None:
    app = create_app(Settings(database_url="postgresql://nowhere/x"))

    public = {route.path_format for route in app.routes if is_public(route.path_format)}

    below = tuple(path for path in PUBLIC if path.endswith("/") and path != "/")
    assert {path for path in public if not path.startswith(below)} <= set(PUBLIC)
    assert below == ("/docs/", "/graphql/explore/")
    assert not any(path.startswith("/api/") for path in public)


async def test_who_shows_nothing_or_what_is_over_is_refused_everywhere(
    api: Api, database: StatementPool
) -> None:
    ada = Person(api, "ada")
    ids = await objects(ada)
    over = (await ada.key("jobs:read", expires_at=str(datetime.now(UTC) + timedelta(hours=1))))["key"]
    await database.fetch(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL"
    )

    for route in ROUTES:
        anonymous = await ask(api, route, route.at(ids), {})
        expired = await ask(api, route, route.at(ids), bearer(over))

        assert anonymous[0] == code(route, 401), route
        assert "token_missing" in anonymous[1], route
        assert expired[0] == code(route, 401), route
        assert "token_expired" in expired[1], route


async def test_what_is_somebody_elses_looks_like_what_is_not_there(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")

    for route in ROUTES:
        if route.scope == "admin" or not set(route.parameters) - {"name", "tone_id"}:
            continue
        ids = await objects(ada)
        foreign = await ask(api, route, route.at(ids), bob.headers)
        missing = await ask(api, route, route.at(dict.fromkeys(ids, NOBODYS)), bob.headers)

        assert foreign[0] == code(route, 404), route
        assert _without(foreign[1], ids.values()) == _without(missing[1], [NOBODYS]), route


async def test_lists_hold_nothing_of_others(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    ids = await objects(ada)

    for route in ROUTES:
        reads = route.method in ("GET", "WS") or route.operation == "queryGraph"
        if route.parameters or not reads or route.scope == "admin":
            continue
        status, body = await ask(api, route, route.path, bob.headers)

        assert status == 200, route
        assert '"errors"' not in body, route
        assert not [one for name, one in ids.items() if name != "name" and one in body], route


async def test_a_key_that_may_read_reads_and_changes_nothing(api: Api) -> None:
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
async def test_owners_and_admins_do_what_they_may(api: Api, who: str) -> None:
    for number, route in enumerate(ROUTES):
        # One of these routes deletes its user.
        ada = Person(api, f"ada{number}")
        asking = ada if who == "ada" else Person(api, who)
        ids = await objects(ada)
        status, body = await ask(api, route, route.at(ids), asking.headers)

        if route.operation in NOT_HERE:
            assert status == 404, route
        elif route.scope == "admin" and who != "root":
            assert status == code(route, 403), route
        else:
            # 409: the caller may do it; only the state of the object forbids it.
            assert status < 300 or status == 409, (route, body)


async def test_answers_name_their_owner(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    owner_id = (await ada.ask("GET", "/me")).json()["id"]
    ids = await objects(ada)

    seen = [
        (await root.ask("GET", f"/{path}/{ids[name]}")).json()["owner_id"]
        for path, name in (("jobs", "job_id"), ("files", "file_id"), ("presets", "preset_id"))
    ]

    assert seen == [owner_id] * 3


async def test_an_admin_does_not_lock_itself_out(api: Api) -> None:
    root = Person(api, "root")
    own = (await root.ask("GET", "/me")).json()["id"]

    deleted = await root.ask("DELETE", f"/users/{own}")
    demoted = await root.ask("PATCH", f"/users/{own}", json={"is_admin": False})

    assert [answer.json()["code"] for answer in (deleted, demoted)] == ["own_account"] * 2


async def test_users_are_shown_as_admins_whichever_way_they_are(api: Api) -> None:
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


async def test_who_was_deleted_a_moment_ago_is_refused(api: Api, database: StatementPool) -> None:
    ada = Person(api, "ada")
    await ada.submit()
    await database.fetch("DELETE FROM users WHERE username = 'ada'")

    answers = [
        await ada.ask("POST", "/jobs", json={"pipeline": "noop"}),
        await ada.ask("POST", "/files", files={"file": b"x"}),
        await ada.ask("POST", "/api-keys", json={"name": "x", "scopes": ["jobs:read"]}),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "token_invalid")] * 3


async def test_an_admin_by_hand_sees_everything_from_then_on(api: Api) -> None:
    ada, bob, root = Person(api, "ada"), Person(api, "bob"), Person(api, "root")
    job_id = await ada.submit()
    bobs = (await bob.ask("GET", "/me")).json()["id"]

    before = await bob.ask("GET", f"/jobs/{job_id}")
    await root.ask("PATCH", f"/users/{bobs}", json={"is_admin": True})
    await asyncio.sleep(1)
    after = await bob.ask("GET", f"/jobs/{job_id}")

    assert (before.status_code, after.status_code) == (404, 200)


def _without(body: str, ids: Any) -> str:
    """Replace the ids in the body, which differ from run to run."""
    for object_id in ids:
        body = body.replace(object_id, "*")
    return body
