"""A socket answers bad messages with an error frame, and stays open."""

import asyncio
from typing import Any

import msgspec
import websockets
from hypothesis import given
from hypothesis import strategies as st

from fuzz.conftest import rows
from fuzz.form import count, examples
from fuzz.test_bodies import VALUES
from headrace.adapters.database import StatementPool
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket
from support.users import Person

TYPED_MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["ping", "cancel!", "resume", "Ping", "", "hello", "end"]) | VALUES},
    optional={"after": VALUES, "job_id": VALUES, "batch": VALUES},
)
MESSAGES = (
    TYPED_MESSAGES.map(lambda message: msgspec.json.encode(message).decode())
    | VALUES.map(lambda value: msgspec.json.encode(value).decode())
    | st.text(max_size=60)
    | st.binary(max_size=60)
    | st.integers(1, 3_000).map(lambda depth: "[" * depth)
    | st.sampled_from(
        ["x" * 70_000, '{"type":"ping","pad":"' + "y" * 70_000 + '"}', b"\xff" * 100, "{}", "null"]
    )
)
KINDS = {"pong", "error"}


async def replies(socket: websockets.ClientConnection, expected_pongs: int) -> list[dict[str, Any]]:
    """Send a last ping. Return the pongs and errors up to its pong."""
    await socket.send(msgspec.json.encode({"type": "ping"}).decode())
    frames = []
    pongs = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while pongs < expected_pongs:
            frame = msgspec.json.decode(await socket.recv())
            frames += [frame] if frame["type"] in KINDS else []
            pongs += frame["type"] == "pong"
    return frames


def is_ping(message: str | bytes) -> bool:
    """Return whether a message is a valid `ping`, which may have more fields."""
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return isinstance(value, dict) and value.get("type") == "ping" and len(message) <= 64 * 1024


@examples(60, 600)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=12), place=st.sampled_from(["job", "all"]))
async def test_malformed_messages_get_an_error_frame_and_the_socket_stays_open(
    api: Api, database: StatementPool, no_logged_errors: None, messages: list[str | bytes], place: str
) -> None:
    ada = Person(api, "ada")
    job_id = await ada.submit("ticks", params={"count": 1})
    before = await rows(database)
    path = "/api/v1/ws" if place == "all" else f"/api/v1/jobs/{job_id}/ws"

    async with open_socket(api.ws + path, additional_headers=ada.headers, max_queue=None) as socket:
        for message in messages:
            await socket.send(message)
        frames = await replies(socket, 1 + sum(map(is_ping, messages)))

    count("frames", len(messages))
    errors = [frame for frame in frames if frame["type"] == "error"]
    assert all(frame["code"] and frame["message"] for frame in errors)
    assert len(frames) == len(messages) + 1 - sum(map(is_resume, messages))
    assert await rows(database) == before


def is_resume(message: str | bytes) -> bool:
    """Return whether a message is a valid `resume`, which gets no reply."""
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return isinstance(value, dict) and value.get("type") == "resume" and value.get("after") in (0, 1)
