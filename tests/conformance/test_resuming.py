"""Every client resumes a watch correctly when the service misbehaves."""

import asyncio
from typing import Any

import pytest

from conformance.node import needs_node, node_watch
from conformance.watchers import (
    CLIENTS,
    Watcher,
    WatchResult,
    typescript_events,
    watched,
    watched_by,
)
from headrace_client import AsyncClient, Client
from support.patience import PATIENCE_SECONDS
from support.scripted_server import Scene, scripted_event_server, scripted_server, sends

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"
END = {"type": "end", "state": "succeeded"}
BEAT = {"type": "beat", "head": 1, "degraded": False}

every_client = watched_by(*CLIENTS)


def events(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"type": "job.cancel_requested", "job_id": JOB, "seq": number, "at": "2026-11-21T06:30:00Z"}
        for number in numbers
    ]


async def watch_scenes(watcher: Watcher, *scenes: Scene) -> tuple[WatchResult, list[int]]:
    """Run the watcher against the scenes; return its result and the cursors that it requested."""
    over_http = watcher is typescript_events
    async with (scripted_event_server if over_http else scripted_server)(*scenes) as server:
        return await watched(watcher, server.url, JOB), server.cursors


@every_client
@pytest.mark.parametrize("code", [1000, 1013, None])
async def test_a_broken_stream_resumes_after_the_last_event(watcher: Watcher, code: int | None) -> None:
    seen, cursors = await watch_scenes(watcher, sends(*events(1, 2, 3), code=code), sends(*events(4, 5), END))

    assert seen.bodies == [*events(1, 2, 3, 4, 5), END]
    assert cursors == [0, 3]


@every_client
async def test_repeated_events_are_dropped(watcher: Watcher) -> None:
    seen, _ = await watch_scenes(watcher, sends(*events(1, 2, 2, 1, 3), END))

    assert seen.bodies == [*events(1, 2, 3), END]


@every_client
async def test_events_after_a_gap_are_not_delivered_until_it_is_filled(watcher: Watcher) -> None:
    seen, cursors = await watch_scenes(watcher, sends(*events(1, 3, 4), END), sends(*events(2, 3, 4), END))

    assert seen.bodies == [*events(1, 2, 3, 4), END]
    assert cursors == [0, 1]


@every_client
async def test_a_client_waits_after_a_bye_before_it_reconnects(watcher: Watcher) -> None:
    began = asyncio.get_running_loop().time()

    seen, cursors = await watch_scenes(
        watcher, sends({"type": "bye", "retry_after": 0.4}, code=1012), sends(END)
    )

    assert asyncio.get_running_loop().time() - began >= 0.4
    assert ([body["type"] for body in seen.bodies], cursors) == (["bye", "end"], [0, 0])


@every_client
async def test_frames_of_one_message_are_delivered_one_by_one(watcher: Watcher) -> None:
    seen, _ = await watch_scenes(watcher, sends([*events(1, 2), BEAT], events(3), [*events(4), END]))

    assert seen.bodies == [*events(1, 2), BEAT, *events(3, 4), END]


@every_client
async def test_unknown_frames_and_fields_are_delivered_unchanged(watcher: Watcher) -> None:
    header = {"job_id": JOB, "seq": 1, "at": "2026-11-21T06:30:00Z"}
    news = [
        {"type": "job.praised", **header, "by": {"name": "somebody"}},
        {**events(2)[0], "why": "a field that is new"},
        {"type": "weather", "degrees": 21.5},
        {"type": "step.started", **header, "seq": 3, "step": 7},
    ]

    seen, cursors = await watch_scenes(watcher, sends(*news, END))

    assert seen.bodies == [*news, END]
    assert cursors == [0]


@every_client
@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (sends(code=4404), "job_not_found"),
        (sends(code=4400, reason="after=9 is beyond the newest event, 2"), "cursor_beyond_head"),
        (sends(code=4401), "unauthenticated"),
    ],
    ids=["not-found", "cursor", "not-signed-in"],
)
async def test_a_refusal_ends_the_watch(watcher: Watcher, scene: Scene, code: str) -> None:
    seen, cursors = await watch_scenes(watcher, scene)

    assert (seen.end_reason, cursors) == (code, [0])


TWICE = (sends(*events(1), code=1011), sends(END))


async def test_python_clients_send_the_token_with_every_connection() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        scripted_server(*TWICE) as blocking,
        scripted_server(*TWICE) as waiting,
    ):
        async with AsyncClient(waiting.url, "secret") as client:
            _ = [frame async for frame in client.watch(JOB)]
        with Client(blocking.url, "secret") as client:
            await asyncio.to_thread(list, client.watch(JOB))

    for server in (blocking, waiting):
        assert server.tokens == ["Bearer secret"] * 2


@needs_node
async def test_typescript_streams_over_http_if_a_socket_cannot_send_the_token() -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), scripted_event_server(*TWICE) as fetched:
        await node_watch("socket", fetched.url, JOB, 0, lambda _: None, token="secret")

    assert fetched.tokens == ["Bearer secret"] * 2


async def test_a_server_that_is_not_headrace_is_refused() -> None:
    async with scripted_event_server(sends(code=4404)) as server:
        for watcher in CLIENTS[:2]:
            assert (await watched(watcher, server.url, JOB)).end_reason == "not_headrace"


@needs_node
@pytest.mark.parametrize("transport", ["socket", "events"])
async def test_typescript_gives_up_on_a_service_that_stays_away(transport: str) -> None:
    scenes = (sends(*events(1, 2), code=1011), sends(code=1013))
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        (scripted_server if transport == "socket" else scripted_event_server)(*scenes) as server,
    ):
        seen: list[bytes] = []
        ending = await node_watch(transport, server.url, JOB, 0, seen.append, patienceMs=1500)

    assert (ending, len(seen)) == ("GaveUpError", 2)
    assert len(server.cursors) > 2
    assert set(server.cursors[1:]) == {2}


@needs_node
@pytest.mark.parametrize("transport", ["socket", "events"])
async def test_typescript_reports_a_service_that_was_never_reachable(transport: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        ending = await node_watch(transport, "http://127.0.0.1:9", JOB, 0, print, patienceMs=300)

    assert ending == "UnreachableError"
