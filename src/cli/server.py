"""uvicorn as Headrace runs it: streams are told goodbye before their sockets are closed."""

import socket
from typing import Final

import uvicorn
from litestar import Litestar

from app import create_app
from settings import Settings

_SHUTDOWN_SECONDS: Final = 10


class Server(uvicorn.Server):
    """Sends `bye` on every stream, then shuts down as usual."""

    def __init__(self, config: uvicorn.Config, app: Litestar) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.state.services.hub.say_goodbye()
        await super().shutdown(sockets)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=2 * 1024 * 1024,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=30,
        access_log=False,
        log_config=None,
        server_header=False,
    )
    Server(config, app).run()
