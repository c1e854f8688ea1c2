"""How long a connection waits for a request and its parts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.api.server.receive_timeout import (
    BODY_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    MIN_BODY_BYTES,
    ReceiveTimeout,
)


class Clock:
    """An event loop's timers, which a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        handle = Timer()
        self._timers.append((self.now + seconds, callback, handle))  # type: ignore[arg-type]
        return handle

    def wait(self, seconds: float) -> None:
        """Move on, and call what is due."""
        self.now += seconds
        due = [timer for timer in self._timers if timer[0] <= self.now]
        self._timers = [timer for timer in self._timers if timer[0] > self.now]
        for _, callback, handle in due:
            if not handle.cancelled():
                callback()


class Timer:
    def __init__(self) -> None:
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled


class Connection(ReceiveTimeout):
    """A connection whose state a test sets."""

    is_head_open = False
    is_body_open = False
    is_reading = True

    def __init__(self, clock: Clock) -> None:
        self.loop = clock  # type: ignore[assignment]
        self.transport = self  # type: ignore[assignment]
        self.is_closed = False
        self.is_refused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def on_idle_timeout(self) -> None:
        self.close()

    def on_receive_timeout(self) -> None:
        self.is_refused = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connection(clock: Clock) -> Connection:
    return Connection(clock)


def test_a_connection_is_closed_when_no_request_begins(clock: Clock, connection: Connection) -> None:
    connection.start_idle_timer()

    clock.wait(IDLE_SECONDS)

    assert (connection.is_closed, connection.is_refused) == (True, False)


def test_more_bytes_of_a_head_do_not_prolong_its_time(clock: Clock, connection: Connection) -> None:
    connection.start_idle_timer()
    connection.is_head_open = True
    for _ in range(10):
        connection.watch_request(10_000)
        clock.wait(HEAD_SECONDS / 10)

    assert (connection.is_closed, connection.is_refused) == (False, True)


def test_a_complete_request_has_no_time_limit(clock: Clock, connection: Connection) -> None:
    connection.is_head_open = True
    connection.watch_request(10)
    connection.is_head_open = False
    connection.watch_request(10)

    clock.wait(1_000)

    assert (connection.is_closed, connection.is_refused) == (False, False)


@pytest.mark.parametrize(("received", "is_refused"), [(MIN_BODY_BYTES, False), (MIN_BODY_BYTES - 1, True)])
def test_a_body_may_take_long_while_it_flows(
    clock: Clock, connection: Connection, received: int, is_refused: bool
) -> None:
    connection.is_body_open = True
    connection.watch_request(1_000_000)
    for _ in range(100):
        clock.wait(BODY_SECONDS / 2)
        connection.watch_request(received)
        clock.wait(BODY_SECONDS / 2)

    assert connection.is_refused == is_refused


@pytest.mark.parametrize("part", ["is_head_open", "is_body_open"])
def test_time_in_which_the_server_does_not_read_is_not_counted(
    clock: Clock, connection: Connection, part: str
) -> None:
    setattr(connection, part, True)
    connection.watch_request(10)
    connection.is_reading = False
    clock.wait(BODY_SECONDS)
    was_refused = connection.is_refused
    connection.is_reading = True
    clock.wait(BODY_SECONDS)

    assert (was_refused, connection.is_refused) == (False, True)


def test_a_body_that_ends_is_not_timed(clock: Clock, connection: Connection) -> None:
    connection.is_body_open = True
    connection.watch_request(10)
    connection.is_body_open = False

    clock.wait(BODY_SECONDS)

    assert not connection.is_refused
