"""Runs uvicorn. At shutdown each stream gets `bye` before its socket is closed."""

import asyncio
import signal
import socket
import sys
import time
from typing import Final

import structlog
import uvicorn
from litestar import Litestar

from headrace.adapters.gc_tuning import collect_requests, freeze_present_objects
from headrace.adapters.process_watch import ProcessWatch, watched_process
from headrace.adapters.tasks import cancel_and_wait
from headrace.api.server.config import server_config
from headrace.api.server.connections import connection_limit
from headrace.app import create_app
from headrace.cli.listener import listeners_of
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_SHUTDOWN_SECONDS: Final = 10


class ApiServer(uvicorn.Server):
    """A uvicorn server that is watched, and sends `bye` on every stream before it shuts down."""

    def __init__(self, config: uvicorn.Config, app: Litestar, watch: ProcessWatch) -> None:
        super().__init__(config)
        self._app = app
        self._watch = watch
        self._beats: asyncio.Task[None] | None = None
        self.is_broken = False

    def stop_broken(self) -> None:
        """Shut down with exit status 1, so that the supervisor restarts the process."""
        self.is_broken = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._beats = asyncio.create_task(self._watch.run())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began, connections = time.monotonic(), len(self.server_state.connections)
        await self._app.state.services.hub.say_goodbye()
        await super().shutdown(sockets)
        if self._beats is not None:
            await cancel_and_wait([self._beats])
        _log.info(
            "api_stopped",
            closed_connections=connections,
            unfinished_requests=len(self.server_state.tasks),
            seconds=round(time.monotonic() - began, 3),
        )


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again after its shutdown; a requested stop must exit with status 0.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))

    def stop_broken() -> None:
        server.stop_broken()

    app = create_app(settings, on_broken=stop_broken)
    config = server_config(
        app,
        connection_limit(settings.max_connections),
        prefix=settings.path_prefix,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    freeze_present_objects()
    collect_requests()
    with watched_process() as watch:
        server = ApiServer(config, app, watch)
        server.run(sockets=listeners_of(listener))
    if server.is_broken:
        sys.exit(1)
