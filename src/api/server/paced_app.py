"""Runs the requests of an application in turns: a step of each, within the budget of a turn."""

import asyncio
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

from uvicorn._types import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent, Scope

from headrace.adapters.fair_turns import CALLER
from headrace.api.server.refusals import Refusal
from headrace.api.server.turns import TurnBudget, Turns

AsgiApp = Callable[..., Coroutine[Any, Any, None]]

_SHUTTING_DOWN: Final = Refusal(
    b"503 Service Unavailable", "shutting_down", "the service stopped before the request was done"
)


class RequestEndedError(Exception):
    """The application uses the connection of a request that has ended."""


class PacedApp:
    """An application whose requests wait once those of a turn have used up its time.

    Health checks have a budget of their own, so a flood of other requests does not delay them.
    """

    def __init__(self, app: AsgiApp, turns: Turns) -> None:
        self._app = app
        self._turns = turns

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # A pipelined request begins in the context of the one before it.
        CALLER.set(None)
        is_health = self._turns.health_paths.match(scope["path"], scope["headers"])
        pace = _Pace(self._turns, is_health=is_health)
        if scope["type"] == "http":
            answer = _Answer(send)
            try:
                await _run_in_turns(self._app(scope, receive, answer.send), pace)
            except asyncio.CancelledError:
                # uvicorn cancels what is still running when the time of a stop is over. If the error reached
                # it, it would answer 500 and log a traceback for each. A response that has begun is cut, and
                # uvicorn logs a line for each: "ASGI callable returned without completing response."
                if not answer.has_begun:
                    await _SHUTTING_DOWN.send(send)
            return
        channel = _Channel(receive, send)
        try:
            await _run_in_turns(self._app(scope, channel.receive, channel.send), pace)
        except asyncio.CancelledError:
            # As above; uvicorn closes the connection.
            return
        finally:
            channel.cut()


class _Pace:
    """The budgets of a request's steps, and what they took."""

    __slots__ = ("_began", "_budget", "_is_health", "_turns", "_user")

    def __init__(self, turns: Turns, *, is_health: bool) -> None:
        self._turns = turns
        self._is_health = is_health

    def next_budget(self) -> TurnBudget:
        """Return the budget of the next step, whose user may be known by now."""
        self._user = CALLER.get()
        self._budget = self._turns.health if self._is_health else self._turns.handling_of(self._user)
        return self._budget

    def begin_step(self) -> None:
        self._began = time.perf_counter()

    def end_step(self) -> None:
        if self._user is not None:
            self._turns.note_step(self._user, self._budget, time.perf_counter() - self._began)


class _Answer:
    """Passes the answer to a request on, and knows whether it has begun."""

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send
        self.has_begun = False

    def send(self, message: ASGISendEvent) -> Awaitable[None]:
        self.has_begun = True
        return self._send(message)


class _Channel:
    """Passes messages between the handler of a socket and its connection, which it releases at the end.

    Litestar's sockets are cycles of references, which only Python's collector frees. Each would keep its
    connection and what that has buffered.
    """

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._receive: ASGIReceiveCallable | None = receive
        self._send: ASGISendCallable | None = send

    def receive(self) -> Awaitable[ASGIReceiveEvent]:
        if self._receive is None:
            raise RequestEndedError
        return self._receive()

    def send(self, message: ASGISendEvent) -> Awaitable[None]:
        if self._send is None:
            raise RequestEndedError
        return self._send(message)

    def cut(self) -> None:
        self._receive = self._send = None


@types.coroutine
def _run_in_turns(work: Coroutine[Any, Any, None], pace: _Pace) -> Generator[Any, None, None]:
    """Run *work*; each of its steps, up to what it awaits next, begins while the turn has time left."""
    error: BaseException | None = None
    while True:
        budget = pace.next_budget()
        if budget.waiting or budget.is_over():
            try:
                yield from budget.wait()
            except BaseException as raised:  # noqa: BLE001  (cancelled while it waits: the work must know)
                error = raised
        pace.begin_step()
        try:
            awaited = work.send(None) if error is None else work.throw(error)
        except StopIteration:
            return
        finally:
            pace.end_step()
            # The frame must not keep the error alive: the error's traceback holds the frame.
            error = None
        try:
            yield awaited
        except BaseException as raised:  # noqa: BLE001  (passed on to the work)
            error = raised
