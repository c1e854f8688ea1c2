"""Every client knows each close code and status of the service, and reports the reason at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from conformance.node import needs_node, node_watch
from conformance.service import Service
from headrace.api.live import socket_transport
from headrace.api.middleware import access
from headrace.api.server import websocket_protocol
from headrace.settings import Settings
from headrace_client import AsyncClient, Client, GaveUpError, WatchRefusedError, refusals
from support.harness import serving
from support.patience import PATIENCE_SECONDS
from support.scripted_server import Scene, scripted_event_server, scripted_server, sends

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"
END = {"type": "end", "state": "succeeded"}

Report = Callable[[str | None], None]


async def blocking(url: str, tell: Report, token: str | None, patience: float) -> tuple[str, str]:
    def watch() -> tuple[str, str]:
        with Client(url, token) as client:
            try:
                list(client.watch(JOB, tell=tell, patience=patience))
            except (WatchRefusedError, GaveUpError) as error:
                return getattr(error, "code", type(error).__name__), str(error)
            return "ended", ""

    return await asyncio.to_thread(watch)


async def asynchronous(url: str, tell: Report, token: str | None, patience: float) -> tuple[str, str]:
    async with AsyncClient(url, token) as client:
        try:
            _ = [frame async for frame in client.watch(JOB, tell=tell, patience=patience)]
        except (WatchRefusedError, GaveUpError) as error:
            return getattr(error, "code", type(error).__name__), str(error)
        return "ended", ""


async def node_socket(url: str, tell: Report, token: str | None, patience: float) -> tuple[str, str]:
    return await _node("socket", url, tell, token, patience)


async def node_events(url: str, tell: Report, token: str | None, patience: float) -> tuple[str, str]:
    return await _node("events", url, tell, token, patience)


async def _node(
    transport: str, url: str, tell: Report, token: str | None, patience: float
) -> tuple[str, str]:
    reports: list[str | None] = []
    code = await node_watch(
        transport,
        url,
        JOB,
        0,
        lambda _: None,
        token=token,
        on_report=reports.append,
        patienceMs=patience * 1000,
    )
    *told, message = reports
    for report in told:
        tell(report)
    return code, message or ""


Watching = Callable[[str, Report, str | None, float], Any]
EVERY = [
    blocking,
    asynchronous,
    pytest.param(node_socket, marks=needs_node),
    pytest.param(node_events, marks=needs_node),
]
by_every_client = pytest.mark.parametrize("watching", EVERY)


async def watched(
    watching: Watching, *scenes: Scene, patience: float = PATIENCE_SECONDS
) -> tuple[str, str, list[str | None], int]:
    """Return the code and the message of the error, what was told, and the number of connections."""
    told: list[str | None] = []
    over_http = watching is node_events
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        (scripted_event_server if over_http else scripted_server)(*scenes) as server,
    ):
        code, message = await watching(server.url, told.append, None, patience)
        return code, message, told, len(server.cursors)


@by_every_client
@pytest.mark.parametrize(
    ("close_code", "reason", "code", "message"),
    [
        (4400, "after=9 is beyond the newest event, 2", "cursor_beyond_head", "after=9 is beyond"),
        (4401, "token_expired", "unauthenticated", "not signed in: a valid token is needed (token"),
        (4403, "this needs the scope jobs:read", "forbidden", "this needs the scope jobs:read"),
        (4404, "there is no such job", "job_not_found", f"there is no job {JOB}"),
    ],
)
async def test_a_final_close_ends_the_watch_with_the_reason_of_the_service(
    watching: Watching, close_code: int, reason: str, code: str, message: str
) -> None:
    ended, said, told, connections = await watched(watching, sends(code=close_code, reason=reason))

    assert (ended, connections, told) == (code, 1, [])
    assert message in said


@by_every_client
@pytest.mark.parametrize("close_code", sorted(refusals.TEMPORARY_CLOSES))
async def test_a_temporary_close_is_told_with_its_reason_at_once_and_resumed(
    watching: Watching, close_code: int
) -> None:
    reason = "too_many_streams: you have 100"

    ended, _, told, connections = await watched(watching, sends(code=close_code, reason=reason), sends(END))

    assert (ended, connections) == ("ended", 2)
    assert told == [reason, None]


@by_every_client
async def test_a_watch_that_is_refused_for_too_long_says_why(watching: Watching) -> None:
    ended, said, told, _ = await watched(watching, sends(code=1013, reason="rate_limited"), patience=0.5)

    assert (ended, told) == ("GaveUpError", ["rate_limited"])
    assert "(rate_limited)" in said


def test_the_clients_know_each_code_with_which_the_service_closes() -> None:
    sent = {
        *socket_transport._CLOSE_CODES.values(),
        socket_transport.BAD_REQUEST,
        access.UNAUTHENTICATED,
        access.FORBIDDEN,
        websocket_protocol.POLICY_VIOLATION,
        websocket_protocol.TRY_AGAIN_LATER,
    }

    assert sent == {refusals.NORMAL, *refusals.FINAL_CLOSES, *refusals.TEMPORARY_CLOSES}


@pytest.fixture
async def refusing() -> AsyncIterator[Callable[..., Any]]:
    """Starts servers that answer each handshake with a status and a body."""
    stopping: list[Any] = []

    async def start(status: int, body: bytes) -> str:
        async def refuse(_: ServerConnection, __: Request) -> Response:
            return Response(status, "Refused", Headers({"Content-Length": str(len(body))}), body)

        server = serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse)
        listener = await server.__aenter__()
        stopping.append(server)
        return f"http://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"

    yield start
    for server in stopping:
        await server.__aexit__(None, None, None)


@pytest.mark.parametrize("watching", [blocking, asynchronous])
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "unauthenticated", "answers 401"),
        (403, "forbidden", "answers 403"),
        (404, "not_headrace", "answers 404: it is not Headrace"),
        (431, "too_many_headers", "the header is too large"),
    ],
)
async def test_the_status_of_a_refused_handshake_ends_the_watch_at_once(
    watching: Watching, refusing: Any, status: int, code: str, message: str
) -> None:
    ours = b'{"type":"about:blank","code":"too_many_headers","detail":"the header is too large"}'
    url = await refusing(status, ours if status == 431 else b"<html>")

    ended, said = await watching(url, print, None, PATIENCE_SECONDS)

    assert ended == code
    assert message in said


@by_every_client
async def test_a_real_service_says_which_right_a_key_lacks(
    watching: Watching, service: Service, settings: Settings
) -> None:
    """A key that may only write jobs; `local` has all rights, so the service runs behind a proxy."""
    own = replace(settings, auth="proxy", trusted_proxies=("127.0.0.1",))
    async with serving(own) as api:
        made = await api.http.post(
            "/api/v1/api-keys",
            json={"name": "writer", "scopes": ["jobs:write"]},
            headers={"X-Forwarded-Preferred-Username": "ada"},
        )
        url = str(api.http.base_url).rstrip("/")
        ended, said = await watching(url, print, made.json()["key"], PATIENCE_SECONDS)

    assert ended == "forbidden"
    assert "jobs:read" in said
