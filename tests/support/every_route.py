"""Every route and socket that is not public, what each is sent, and what it answers."""

import asyncio
import re
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import websockets
from litestar.routes import HTTPRoute, WebSocketRoute

from headrace.api.middleware.access import is_public
from headrace.app import create_app
from headrace.settings import Settings
from support.harness import Api
from support.users import Person

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
    "queryGraph": {"json": {"query": "{ jobs { id } me { username } }"}},
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
