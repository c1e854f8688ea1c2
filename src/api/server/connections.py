"""Bounds the open connections of an API process. Health checks find a place even when all are taken."""

import resource
import time
from typing import Final, Protocol

import structlog

_log = structlog.get_logger(__name__)

# Beyond the limit, so many connections may still send the head of a request, which may be a health check.
_RESERVE: Final = 16
# The files and sockets that the process needs for itself: listeners, pools of PostgreSQL and Redis, uploads.
_OWN_FILES: Final = 48
_MIN_LIMIT: Final = 8
_LOG_SECONDS: Final = 60.0


class WaitingConnection(Protocol):
    """A connection that waits for the head of a request: it may be closed to make room."""

    def close_waiting(self) -> None: ...


class ConnectionLimit:
    """Admits connections up to a limit; beyond it, closes the one that has waited longest for a request."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: dict[WaitingConnection, None] = {}
        self._closed = 0
        self._refused = 0
        self._logged_at = -_LOG_SECONDS

    def admit(self, open_connections: int) -> bool:
        """Return whether a new connection may be served; *open_connections* counts it.

        False means that it may only ask for the service's health. A connection that is closed for it makes
        room only when it has ended, so there may still be too many.
        """
        if open_connections <= self.limit:
            return True
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            self._refused += 1
        else:
            del self._waiting[oldest]
            oldest.close_waiting()
            self._closed += 1
        self._log(open_connections)
        return oldest is not None and not self.is_beyond_reserve(open_connections)

    def is_beyond_reserve(self, open_connections: int) -> bool:
        """Return whether there are so many connections that a new one is closed without a response."""
        return open_connections > self.limit + _RESERVE

    def add_waiting(self, connection: WaitingConnection) -> None:
        self._waiting[connection] = None

    def remove_waiting(self, connection: WaitingConnection) -> None:
        self._waiting.pop(connection, None)

    def _log(self, open_connections: int) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_SECONDS:
            return
        _log.warning(
            "connections_at_limit",
            limit=self.limit,
            open=open_connections,
            closed=self._closed,
            refused=self._refused,
        )
        self._logged_at, self._closed, self._refused = now, 0, 0


def connection_limit(wanted: int) -> int:
    """Return how many connections this process may hold: *wanted*, or fewer if it may not open so many files.

    The soft limit of open files is raised as far as *wanted* needs and the hard limit allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + _RESERVE + _OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= files:
        return wanted
    allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed - _RESERVE - _OWN_FILES, _MIN_LIMIT)
