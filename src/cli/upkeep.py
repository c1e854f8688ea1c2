"""Restarts embedded servers that have ended, on the port that their clients know, and rotates their logs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from headrace.adapters.retry_pause import RetryPause
from headrace.adapters.servers import EmbeddedServer, Servers
from headrace.cli.managed_process import Report

_POLL_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 10.0


@asynccontextmanager
async def keep_running(servers: Servers, report: Report) -> AsyncIterator[None]:
    """Restart *servers* that end, for the block. *report* receives each end and each start."""
    done = asyncio.Event()
    keeping = asyncio.create_task(_keep(servers.all(), report, done))
    try:
        yield
    finally:
        done.set()
        # A start in progress cannot be cancelled; it is bounded by its own timeout.
        await keeping


async def _keep(servers: list[EmbeddedServer], report: Report, done: asyncio.Event) -> None:
    pause = RetryPause(min_seconds=_POLL_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
    while not done.is_set():
        are_alive = [await _restart_if_ended(server, report) for server in servers]
        if all(are_alive):
            pause.reset()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), pause.next_seconds())


async def _restart_if_ended(server: EmbeddedServer, report: Report) -> bool:
    """Restart a server that has ended. Returns False if it does not start."""
    if server.is_alive():
        server.rotate_log()
        return True
    report(server.label, "ended unexpectedly: it restarts")
    try:
        await asyncio.to_thread(server.restart)
    except Exception as error:  # noqa: BLE001  (any error is reported, and the start is retried)
        report(server.label, f"[error] {error}")
        return False
    report(server.label, "answers again")
    return True
