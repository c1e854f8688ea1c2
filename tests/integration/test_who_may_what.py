"""Every route and socket, asked by everybody: generated from the application's own routes."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import websockets
from litestar.routes import HTTPRoute, WebSocketRoute

from adapters.database import StatementPool
from api.admission import PUBLIC, UnguardedRouteError, check_routes, is_public
from app import create_app
from harness import Api
from people import Person, bearer, open_proxied
from settings import Settings

# What each route that takes a body is sent; a new one is missed here.
BODIES: dict[str, dict[str, Any]] = {
    "submitJob": {"json": {"pipeline": "noop"}},
    "submitJobs": {"json": {"jobs": [{"pipeline": "noop"}]}},
    "patchJob": {"json": {"meta": {"a": 1}}},
    "cancelJob": {},
    "retryJob": {},
    "patchFile": {"json": {"meta": {"a": 1}}},
    "createPreset": {"json": {"title": "a new one", "pipeline": "noop", "params": {}}},
    "replacePreset": {"json": {"title": "another", "pipeline": "noop", "params": {}}},
    "patchPreset": {"json": {"description": None}},
    "submitPreset": {"json": {}},
    "createTag": {"json": {"name": "a new one"}},
    "patchTag": {"json": {"name": "another"}},
    "uploadFile": {"files": {"file": b"x"}},
    "makeJobToken": {"json": {}},
    "makeApiKey": {"json": {"name": "x", "scopes": ["jobs:read"]}},
    "queryGraph": {"json": {"query": "{ jobs { id } tags { id } presets { id } me { username } }"}},
    "patchUser": {"json": {"is_admin": False}},
}
# What stands in a path, and how Ada comes by one.
OBJECTS: dict[str, str] = {
    "job_id": "job",
    "file_id": "file",
    "key_id": "key",
    "preset_id": "preset",
    "tag_id": "tag",
    "user_id": "user",
    "name": "pipeline",
    "tone_id": "tone",
}
# What an installation without that provider does not have, whoever asks.
NOT_HERE = {"getTone"}
NOBODYS = str(uuid4())


class Route(msgspec.Struct, frozen=True):
    """One operation of the API: a method, or a socket, at a path."""

    method: str
    path: str
    operation: str
    scope: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)", self.path)

    def at(self, ids: dict[str, str]) -> str:
        """The path with these objects in it."""
        return re.sub(r"{(\w+)[^}]*}", lambda match: ids[match[1]], self.path)


def routes() -> list[Route]:
    """All that are not public."""
    found = []
    for route in create_app(Settings(database_url="postgresql://nowhere/x")).routes:
        if is_public(route.path_format):
            continue
        if isinstance(route, HTTPRoute):
            found += [
                Route(method, route.path, str(handler.operation_id), handler.opt["scope"])
                for handler in route.route_handlers
                for method in handler.http_methods - {"OPTIONS", "HEAD"}
            ]
        elif isinstance(route, WebSocketRoute):
            found.append(
                Route("WS", route.path, route.route_handler.handler_name, route.route_handler.opt["scope"])
            )
    return sorted(found, key=str)


ROUTES = routes()


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with open_proxied(settings) as running:
        yield running


async def objects(ada: Person) -> dict[str, str]:
    """One of everything that Ada can own, by the names of the paths."""
    upload = await ada.ask("POST", "/files", files={"file": b"x"})
    preset = {"title": f"one of {uuid4()}", "pipeline": "noop", "params": {}}
    made = {
        "preset": (await ada.ask("POST", "/presets", json=preset)).json()["id"],
        "tag": (await ada.ask("POST", "/tags", json={"name": f"one of {uuid4()}"})).json()["id"],
        "job": await ada.submit(),
        "file": upload.json()["id"],
        "key": (await ada.key("jobs:read"))["id"],
        "user": (await ada.ask("GET", "/me")).json()["id"],
        "pipeline": "noop",
        "tone": "471100815",
    }
    return {parameter: made[kind] for parameter, kind in OBJECTS.items()}


async def ask(api: Api, route: Route, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and body; of a socket the code of its close (or 200 while it is open) and its first frame."""
    if route.method != "WS":
        more = BODIES[route.operation] if route.method in ("POST", "PUT", "PATCH") else {}
        answer = await _within(api.http, route.method, path, headers, more)
        return answer.status_code, answer.text
    # With a bound queue the client would not see the end behind what it has not read.
    async with websockets.connect(api.ws + path, additional_headers=headers, max_queue=None) as socket:
        try:
            frame = await asyncio.wait_for(socket.recv(), 0.3)
        except websockets.ConnectionClosed:
            return socket.close_code or 0, socket.close_reason or ""
        except TimeoutError:
            return 200, ""
        return 200, str(frame)


async def _within(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], more: dict[str, Any]
) -> httpx.Response:
    """The answer; of a stream its beginning."""
    if not path.endswith("/stream"):
        return await http.request(method, path, headers=headers, **more)
    async with http.stream(method, path, headers=headers) as stream:
        if stream.status_code >= 400:
            await stream.aread()
        else:
            stream._content = b""
        return stream


def is_socket(route: Route) -> bool:
    return route.method == "WS"


def code(route: Route, status: int) -> int:
    """The status that a refusal has on that kind of route."""
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
            # 409: nothing stands against it but the state of the object.
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


async def test_what_an_admin_changes_is_written_down(api: Api) -> None:
    ada, root = Person(api, "ada"), Person(api, "root")
    job_id = await ada.submit()
    cancelled = await root.ask("POST", f"/jobs/{job_id}/cancel", headers={"X-Request-Id": "by-root"})
    await root.ask("GET", f"/jobs/{job_id}")
    await root.ask("POST", f"/jobs/{job_id}/cancel")
    await ada.ask("PATCH", f"/jobs/{job_id}", json={"meta": {"a": 1}})

    log = (await root.ask("GET", "/audit-log")).json()

    assert cancelled.status_code == 202
    assert [(entry["actor"], entry["action"], entry["object_id"]) for entry in log["items"]] == [
        ("root", "cancelJob", job_id)
    ]
    assert log["items"][0]["request_id"] == "by-root"


async def test_an_admin_does_not_lock_itself_out(api: Api) -> None:
    root = Person(api, "root")
    own = (await root.ask("GET", "/me")).json()["id"]

    deleted = await root.ask("DELETE", f"/users/{own}")
    demoted = await root.ask("PATCH", f"/users/{own}", json={"is_admin": False})

    assert [answer.json()["code"] for answer in (deleted, demoted)] == ["own_account"] * 2


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
    """The body without the ids in it, which differ."""
    for one in ids:
        body = body.replace(one, "*")
    return body
