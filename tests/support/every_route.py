"""All routes and sockets that are not public, with a request for each and its response."""

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
from headrace.domain.accounts.scopes import ADMIN_SCOPES
from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket
from support.users import Person

PUBLIC_PATHS = (
    "/",
    "/docs",
    "/docs/assets/swagger-ui.css",
    "/docs/page/start.js",
    "/graphql/explore",
    "/openapi.json",
    "/asyncapi.yaml",
    "/health/live",
    "/health/ready",
)
"""Paths that anybody may GET, with a 200 each."""

# The request of each route that takes a body; a new route must be added here.
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
# The kind of object for each path parameter.
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
# Operations that an installation without the provider answers with 404 for every caller.
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

    @property
    def is_for_admins(self) -> bool:
        return self.scope in ADMIN_SCOPES

    def at(self, ids: dict[str, str]) -> str:
        """Return the path with these ids in it."""
        return re.sub(r"{(\w+)[^}]*}", lambda match: ids[match[1]], self.path)


def routes() -> list[Route]:
    """Return all routes that are not public."""
    listed = []
    for route in create_app(Settings(database_url="postgresql://nowhere/x")).routes:
        if is_public(route.path_format):
            continue
        if isinstance(route, HTTPRoute):
            listed += [
                Route(method, route.path, str(handler.operation_id), handler.opt["scope"])
                for handler in route.route_handlers
                for method in handler.http_methods - {"OPTIONS", "HEAD"}
            ]
        elif isinstance(route, WebSocketRoute):
            listed.append(
                Route("WS", route.path, route.route_handler.handler_name, route.route_handler.opt["scope"])
            )
    return sorted(listed, key=str)


ROUTES = routes()


async def objects(ada: Person) -> dict[str, str]:
    """Create an object of each kind for Ada. Return their ids by path parameter."""
    upload = await ada.ask("POST", "/files", files={"file": b"x"})
    preset = {"title": f"one of {uuid4()}", "pipeline": "noop", "params": {}}
    ids = {
        "preset": (await ada.ask("POST", "/presets", json=preset)).json()["id"],
        "tag": (await ada.ask("POST", "/tags", json={"name": f"one of {uuid4()}"})).json()["id"],
        "job": await ada.submit(),
        "file": upload.json()["id"],
        "key": (await ada.key("jobs:read"))["id"],
        "user": (await ada.ask("GET", "/me")).json()["id"],
        "pipeline": "noop",
        "tone": "471100815",
    }
    return {parameter: ids[kind] for parameter, kind in OBJECTS.items()}


async def ask(api: Api, route: Route, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return status and body; for a socket the close code (or 200 while it is open) and the first frame."""
    if route.method != "WS":
        more = BODIES[route.operation] if route.method in ("POST", "PUT", "PATCH") else {}
        response = await _within(api.http, route.method, path, headers, more)
        return response.status_code, response.text
    # With a bounded queue the client would not see the close behind unread frames.
    async with open_socket(api.ws + path, additional_headers=headers, max_queue=None) as socket:
        try:
            # An open socket replies, also if it has nothing else to send.
            await socket.send('{"type":"ping"}')
            frame = await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
        except websockets.ConnectionClosed:
            return socket.close_code or 0, socket.close_reason or ""
        return 200, str(frame)


async def _within(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], more: dict[str, Any]
) -> httpx.Response:
    """Return the response; for an open stream only its head."""
    if not path.endswith("/stream"):
        return await http.request(method, path, headers=headers, **more)
    async with http.stream(method, path, headers=headers) as stream:
        if stream.status_code >= 400:
            await stream.aread()
        else:
            stream._content = b""
        return stream
