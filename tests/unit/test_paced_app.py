"""Requests run in turns: health checks past all others, and nobody loses a cancellation or an error."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from headrace.adapters.fair_turns import CALLER
from headrace.api.server.health_paths import HealthPaths
from headrace.api.server.paced_app import AsgiApp, PacedApp, RequestEndedError
from headrace.api.server.turns import TurnBudget, Turns

STEPS = 3
Headers = Sequence[tuple[bytes, bytes]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stand:
    """A paced application whose every step takes all the time of a turn, and the log of its steps."""

    def __init__(self, app: AsgiApp | None = None, prefix: str = "") -> None:
        self.clock = Clock()
        self.log: list[str] = []
        self.turns = Turns(HealthPaths(prefix))
        self.turns.handling = TurnBudget(0.005, self.clock)
        self.turns.health = TurnBudget(0.005, self.clock)
        self._app = PacedApp(app or self._take_steps, self.turns)

    def request(
        self, path: str, receive: Any = None, send: Any = None, kind: str = "http", headers: Headers = ()
    ) -> asyncio.Task[None]:
        scope: Any = {"type": kind, "path": path, "headers": list(headers)}
        return asyncio.create_task(self._app(scope, receive, send))

    async def _take_steps(self, scope: Any, _receive: Any, _send: Any) -> None:
        for _ in range(STEPS):
            self.log.append(scope["path"])
            self.clock.now += 1
            await asyncio.sleep(0)


async def tick(log: list[str]) -> None:
    while True:
        log.append("loop")
        await asyncio.sleep(0)


async def test_in_each_turn_one_request_takes_a_step_in_the_order_of_arrival() -> None:
    stand = Stand()
    ticking = asyncio.create_task(tick(stand.log))

    await asyncio.gather(*(stand.request(path) for path in ("/a", "/b", "/c")))
    ticking.cancel()

    assert [path for path in stand.log if path != "loop"] == ["/a", "/b", "/c"] * STEPS
    steps = "".join("." if entry == "loop" else "s" for entry in stand.log)
    assert "ss" not in steps, "two requests took a step in one turn"


async def test_a_request_begins_without_the_user_of_the_context_in_which_it_was_parsed() -> None:
    users = list[Any]()

    async def note_user(_scope: Any, _receive: Any, _send: Any) -> None:
        users.append(CALLER.get())

    CALLER.set(uuid4())
    await Stand(note_user).request("/a")

    assert users == [None]


async def test_a_health_check_waits_for_no_other_request() -> None:
    stand = Stand()
    others = [stand.request(f"/{number}") for number in range(20)]
    health = stand.request("/health/live")

    await health
    before = [path for path in stand.log if path != "/health/live"]
    await asyncio.gather(*others)

    assert len(before) <= STEPS + 2


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/below/it/health/ready", []),
        ("/health/ready", []),
        ("/else/health/live", [(b"x-forwarded-prefix", b"/else/")]),
    ],
)
async def test_a_health_check_below_a_prefix_waits_for_no_other_request(path: str, headers: Headers) -> None:
    stand = Stand(prefix="/below/it")
    others = [stand.request(f"/{number}") for number in range(20)]

    await stand.request(path, headers=headers)
    before = [path for path in stand.log if "health" not in path]
    await asyncio.gather(*others)

    assert len(before) <= STEPS + 2


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/health/nothing", []),
        ("/below/health/live", []),
        ("/below/it/health/live/more", []),
        ("/api/v1/health/live", [(b"x-forwarded-prefix", b"/api")]),
        ("/health/live/health/live", [(b"host", b"/health/live")]),
    ],
)
async def test_an_unknown_path_of_health_waits_as_all_do(path: str, headers: Headers) -> None:
    stand = Stand(prefix="/below/it")
    others = [stand.request(f"/{number}") for number in range(20)]
    unknown = stand.request(path, headers=headers)

    await asyncio.gather(unknown, *others)

    assert stand.log[:21] == [f"/{number}" for number in range(20)] + [path]


async def test_waiting_requests_are_counted() -> None:
    stand = Stand()
    requests = [stand.request(f"/{number}") for number in range(5)]
    await asyncio.sleep(0)
    waiting = len(stand.turns.handling.waiting)

    await asyncio.gather(*requests)

    assert (waiting, len(stand.turns.handling.waiting)) == (4, 0)


async def test_a_request_that_is_cancelled_while_it_waits_is_told_and_answered() -> None:
    cleaned: list[int] = []
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        stand.clock.now += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            cleaned.append(len(stand.turns.handling.waiting))

    stand = Stand(app)
    first, second = stand.request("/a"), stand.request("/b", None, send)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second.cancel()

    await first
    await second
    assert cleaned == [0, 0]
    (start, body) = sent
    problem = msgspec.json.decode(body["body"])
    assert (start["status"], problem["code"], problem["status"]) == (503, "shutting_down", 503)
    assert (b"retry-after", b"2") in start["headers"]


async def test_a_cancelled_request_that_has_begun_its_answer_is_not_answered_again() -> None:
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    request = Stand(app).request("/a", None, send)
    await asyncio.sleep(0)
    request.cancel()

    await request
    assert [message["status"] for message in sent] == [200]


async def test_a_cancelled_socket_ends_without_an_error() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.Event().wait()

    request = Stand(app).request("/a", kind="websocket")
    await asyncio.sleep(0)
    request.cancel()

    await request


async def test_an_error_of_the_application_is_raised() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        raise KeyError("unexpected")

    with pytest.raises(KeyError, match="unexpected"):
        await Stand(app).request("/a")


async def test_a_request_that_waits_for_an_error_gets_it() -> None:
    future = asyncio.get_running_loop().create_future()
    caught = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            await future
        except OSError as error:
            caught.append(error)

    request = Stand(app).request("/a")
    await asyncio.sleep(0)
    future.set_exception(OSError("broken"))
    await request

    assert [str(error) for error in caught] == ["broken"]


class Connection:
    async def receive(self) -> Any:
        return {"type": "http.request"}

    async def send(self, message: Any) -> None:
        raise NotImplementedError


async def test_a_socket_that_is_kept_alive_does_not_keep_its_connection() -> None:
    kept: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        kept.extend((receive, send))

    connection = Connection()
    gone = weakref.ref(connection)
    gc.disable()
    try:
        await Stand(app).request("/a", connection.receive, connection.send, "websocket")
        del connection
        assert gone() is None
    finally:
        gc.enable()
    for use in (kept[0], lambda: kept[1]({})):
        with pytest.raises(RequestEndedError):
            use()
