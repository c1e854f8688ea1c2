"""Which part of a request an HTTP connection times, after each part that it has parsed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.server import ServerState

from headrace.api.server.config import server_config
from headrace.api.server.http_protocol import HttpProtocol

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST" + HEAD[3:-2] + b"Content-Length: 5\r\n\r\n"
BEGINNING, REST = HEAD[:10], HEAD[10:]


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Transport(asyncio.Transport):
    """A transport whose client reads everything."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def write(self, data: Any) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
async def connection() -> AsyncIterator[HttpProtocol]:
    config = server_config(app, 10)
    config.load()
    protocol: Any = config.http_protocol_class
    connection: HttpProtocol = protocol(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(Transport())
    yield connection
    connection.connection_lost(None)


async def answer(connection: HttpProtocol) -> None:
    """Wait until each request that is complete is answered."""
    await asyncio.gather(*connection.tasks)


async def test_the_first_request_is_awaited(connection: HttpProtocol) -> None:
    assert connection._timed == "idle"


async def test_empty_lines_before_the_first_request_are_the_beginning_of_a_head(
    connection: HttpProtocol,
) -> None:
    connection.parse(b"\r\n")
    timer = connection._receive_timer
    connection.parse(b"\r\n")
    connection.parse(BEGINNING)

    assert (connection._timed, connection._receive_timer) == ("head", timer)


async def test_empty_lines_between_requests_are_the_beginning_of_a_head(connection: HttpProtocol) -> None:
    connection.parse(HEAD)
    await answer(connection)
    is_kept_alive = connection.timeout_keep_alive_task is not None
    connection.parse(b"\r\n")

    assert (is_kept_alive, connection.timeout_keep_alive_task, connection._timed) == (True, None, "head")


async def test_empty_lines_behind_a_running_request_have_no_time(connection: HttpProtocol) -> None:
    connection.parse(HEAD)
    connection.parse(b"\r\n")
    timed = connection._timed
    await answer(connection)

    assert timed is None
    assert connection.timeout_keep_alive_task is not None


async def test_each_pipelined_head_has_its_own_time(connection: HttpProtocol) -> None:
    connection.parse(BEGINNING)
    first = connection._receive_timer
    connection.parse(REST + BEGINNING)
    second = connection._receive_timer
    await answer(connection)
    connection.parse(REST + BEGINNING)
    third = connection._receive_timer

    assert connection._timed == "head"
    assert len({first, second, third}) == 3
    assert first is not None
    assert first.cancelled()


async def test_each_pipelined_body_has_its_own_time(connection: HttpProtocol) -> None:
    connection.parse(POST + b"12")
    first, timed = connection._receive_timer, connection._timed
    connection.parse(b"3")
    same = connection._receive_timer
    connection.parse(b"45" + POST)

    assert (timed, connection._timed) == ("body", "body")
    assert same is first
    assert connection._receive_timer is not first


async def test_a_body_is_timed_although_its_request_was_answered(connection: HttpProtocol) -> None:
    connection.parse(POST)
    await answer(connection)
    connection.parse(b"1")
    timed = connection._timed
    connection.parse(b"2345" + HEAD)
    await answer(connection)

    assert (timed, connection._timed) == ("body", None)
