"""Configures uvicorn with the protocols of this package, which share the turns of the event loop."""

from functools import partial
from typing import Any

import uvicorn

from headrace.adapters.event_loop import ServiceLoop
from headrace.api.server.connections import ConnectionLimit
from headrace.api.server.health_paths import HealthPaths
from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.paced_app import AsgiApp, PacedApp
from headrace.api.server.refusals import RefusalLog
from headrace.api.server.turns import Turns
from headrace.api.server.websocket_protocol import WebSocketProtocol


def server_config(app: AsgiApp, max_connections: int, *, prefix: str = "", **options: Any) -> uvicorn.Config:
    """Return the configuration of a server of *app*; *options* are further ones of uvicorn.

    *prefix*: the path below which the service is published, without a slash at its end.
    """
    turns = Turns(HealthPaths(prefix))
    limit = ConnectionLimit(max_connections)
    return uvicorn.Config(
        PacedApp(app, turns),
        loop=f"{ServiceLoop.__module__}:{ServiceLoop.__name__}",
        http=partial(HttpProtocol, limit=limit, turns=turns, refusal_log=RefusalLog()),  # type: ignore[arg-type]
        ws=partial(WebSocketProtocol, turns=turns),  # type: ignore[arg-type]
        ws_per_message_deflate=False,
        ws_max_size=2 * 1024 * 1024,
        timeout_keep_alive=30,
        access_log=False,
        log_config=None,
        server_header=False,
        # `api.auth.proxies` decides which peers may set forwarding headers.
        proxy_headers=False,
        **options,
    )
