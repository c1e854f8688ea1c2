"""uvicorn's HTTP protocol with limits on heads, on pipelined requests and on how long a request arrives."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace.api.server.connections import ConnectionLimit
from headrace.api.server.intake import Intake
from headrace.api.server.receive_timeout import ReceiveTimeout
from headrace.api.server.refusals import Refusal, RefusalLog, RequestRefusedError
from headrace.api.server.small_reads import SmallReads
from headrace.api.server.turns import Turns
from headrace.api.server.write_timeout import WriteTimeout, reset_connection

_MAX_HEAD_BYTES: Final = 64 * 1024
# More than that are refused by the application with a problem document; a head may hold 16,000.
_MAX_HEADERS: Final = 256
_MAX_PIPELINED: Final = 16


_INVALID: Final = Refusal(b"400 Bad Request", "malformed", "the request is not valid HTTP")
_HEAD_TOO_LARGE: Final = Refusal(
    b"431 Request Header Fields Too Large",
    "head_too_large",
    f"the head of a request has at most {_MAX_HEAD_BYTES} bytes",
)
_TOO_MANY_HEADERS: Final = Refusal(
    b"431 Request Header Fields Too Large", "too_many_headers", "the request has too many headers"
)
_HOST_INVALID: Final = Refusal(
    b"400 Bad Request", "malformed", "a request has one Host header, not none or several"
)
_ENCODING_UNKNOWN: Final = Refusal(
    b"501 Not Implemented", "transfer_encoding_unknown", "the only known transfer encoding is chunked"
)
_TOO_MANY_PIPELINED: Final = Refusal(
    b"429 Too Many Requests",
    "too_many_requests",
    f"at most {_MAX_PIPELINED} requests may wait on one connection",
)
_TOO_MANY_CONNECTIONS: Final = Refusal(
    b"503 Service Unavailable", "too_many_connections", "the service holds as many connections as it can"
)
_TOO_SLOW: Final = Refusal(b"408 Request Timeout", "request_timeout", "the request has not arrived in time")


class HttpProtocol(ReceiveTimeout, WriteTimeout, Intake, HttpToolsProtocol):
    """Serves requests, event streams and downloads on one connection.

    It drops trailers: a proxy that names the user in a header may pass on a trailer of that name which the
    user wrote.
    """

    def __init__(
        self, *args: Any, limit: ConnectionLimit, turns: Turns, refusal_log: RefusalLog, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.turns = turns
        self._limit = limit
        self._refusal_log = refusal_log
        self._is_served = True
        self._is_upgraded = False
        self._is_head_open = False
        self._is_message_open = False
        self._has_progressed = False
        self._head_bytes = 0
        self.flow: _IntakeFlow
        self._refusal: Refusal | None = None
        # uvicorn's `cycle` is the request that was parsed last; pipelined ones wait behind this one.
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _IntakeFlow(transport, self.go_on)
        transport.set_protocol(SmallReads(self))
        self._is_served = self._limit.admit(len(self.connections))
        if not self._is_served and self._limit.is_beyond_reserve(len(self.connections)):
            reset_connection(transport)
            return
        self._limit.add_waiting(self)
        self.start_idle_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.remove_waiting(self)
        self.discard_held()
        super().connection_lost(exc)
        self._disconnect_running()
        self._break_cycles()

    def close_waiting(self) -> None:
        self.transport.close()
        # In this turn, the loop still sends what was written.
        self.loop.call_soon(self.reset_if_unread)

    def may_parse(self) -> bool:
        return not self.pipeline and not self.flow.read_paused and not self._is_upgraded

    def resume_transport(self) -> None:
        if not self._is_upgraded and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def parse(self, data: bytes) -> None:
        self._has_progressed = False
        self._unset_keepalive_if_required()
        # uvicorn would log a line for each request that its parser refuses.
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or _INVALID)
            return
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        if self._is_upgraded:
            return
        self._head_bytes = 0 if self._has_progressed else self._head_bytes + len(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        self.watch_request(len(data))

    @property
    def is_head_open(self) -> bool:
        if self._is_message_open:
            return self._is_head_open
        # The parser does not report empty lines before a request.
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_body_open(self) -> bool:
        return self._is_message_open and not self._is_head_open

    @property
    def is_reading(self) -> bool:
        return not self.flow.read_paused and not self._held

    def on_idle_timeout(self) -> None:
        self.close_soon()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.watch_closing()

    def on_receive_timeout(self) -> None:
        self._refuse(_TOO_SLOW)

    def on_message_begin(self) -> None:
        self._is_head_open = self._is_message_open = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_open:
            return
        super().on_header(name, value)
        if len(self.headers) > _MAX_HEADERS:
            self._raise(_TOO_MANY_HEADERS)

    def on_headers_complete(self) -> None:
        self._is_head_open = False
        self._has_progressed = True
        # A pipelined head that follows has its own time.
        self.stop_receive_timer()
        self._limit.remove_waiting(self)
        self._check_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_progressed = True
        self._is_message_open = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            if not self.pipeline and self.cycle.response_complete:
                self._limit.add_waiting(self)
            self.go_on()
        self.watch_closing()

    def handle_websocket_upgrade(self) -> None:
        self._is_upgraded = True
        self._stop_write_timer()
        self.stop_receive_timer()
        self.discard_held()
        super().handle_websocket_upgrade()
        self.transport.set_protocol(SmallReads(self.transport.get_protocol()))  # type: ignore[arg-type]
        self._break_cycles()

    def _disconnect_running(self) -> None:
        """Let the running request write nothing more."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, partial(self._answer, cycle, app))

    async def _answer(self, cycle: RequestResponseCycle, app: ASGI3Application, *args: Any) -> None:
        try:
            await app(*args)
        finally:
            # uvicorn closes the connection of a request that has failed within its response.
            if not cycle.response_complete:
                self.loop.call_soon(self.watch_closing)

    def _break_cycles(self) -> None:
        """Let the memory be freed at once when the protocol ends, not by a rare run of Python's collector."""
        self.flow.stop()
        self.pipeline.clear()
        self.cycle = self._running = self.parser = None  # type: ignore[assignment]

    def _check_head(self) -> None:
        """Refuse a head that proxies may read differently, and a request for which there is no place."""
        hosts = encodings = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                encodings += 1
                if encodings > 1 or value.strip().lower() != b"chunked":
                    self._raise(_ENCODING_UNKNOWN)
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            self._raise(_HOST_INVALID)
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._raise(_TOO_MANY_PIPELINED)
        if not self._is_served and not self._is_health_check():
            self._raise(_TOO_MANY_CONNECTIONS)

    def _is_health_check(self) -> bool:
        path = self.url.partition(b"?")[0].decode("latin-1")
        return self.turns.health_paths.match(path, self.headers)

    def _raise(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise RequestRefusedError(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and close. A response that has begun is cut off, since nothing may be written into it."""
        self.stop_receive_timer()
        self.discard_held()
        if self.transport.is_closing():
            return
        self._refusal_log.count(refusal.code)
        if (
            self._running is not None
            and self._running.response_started
            and not self._running.response_complete
        ):
            reset_connection(self.transport)
            return
        self._disconnect_running()
        self.transport.write(refusal.response())
        self.close_soon()


class _IntakeFlow(FlowControl):
    """uvicorn's flow control, which lets the protocol parse what it holds before it reads more."""

    def __init__(self, transport: asyncio.Transport, go_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self._go_on: Callable[[], None] | None = go_on

    def resume_reading(self) -> None:
        if self.read_paused and self._go_on is not None:
            self.read_paused = False
            self._go_on()

    def stop(self) -> None:
        """Read nothing more: the connection is lost."""
        self._go_on = None
