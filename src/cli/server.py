"""uvicorn as Headrace runs it: streams are told goodbye before their sockets are closed."""

import errno
import signal
import socket
import sys
from typing import Final

import uvicorn
from litestar import Litestar

from headrace.adapters.gc_tuning import tune_gc
from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.websocket_protocol import WebSocketProtocol
from headrace.app import create_app
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_SHUTDOWN_SECONDS: Final = 10


class ApiServer(uvicorn.Server):
    """Sends `bye` on every stream, then shuts down as usual."""

    def __init__(self, config: uvicorn.Config, app: Litestar) -> None:
        super().__init__(config)
        self._app = app
        self.is_broken = False

    def stop_broken(self) -> None:
        """Shut down with a failure, to be started anew."""
        self.is_broken = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.state.services.hub.say_goodbye()
        await super().shutdown(sockets)


class PortTakenError(HeadraceError):
    """Nothing can listen at that address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}; choose another one with --port")


def listen(host: str, port: int) -> socket.socket:
    """Take the address, so that a refusal is one line and comes first. Port 0: any that is free.

    Raises:
        PortTakenError: it is taken, or not an address of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise PortTakenError(host, port, "it is taken" if taken else str(error.strerror).lower()) from error
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again when all is closed; being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))

    def stop_broken() -> None:
        server.stop_broken()

    app = create_app(settings, on_broken=stop_broken)
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=2 * 1024 * 1024,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=30,
        access_log=False,
        log_config=None,
        server_header=False,
        # Who the peer is decides whom it may name; that is judged in one place.
        proxy_headers=False,
    )
    server = ApiServer(config, app)
    tune_gc()
    server.run(sockets=[listener])
    if server.is_broken:
        sys.exit(1)
