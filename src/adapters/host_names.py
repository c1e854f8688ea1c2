"""Remembers the addresses of servers for the time in which no name server answers.

Otherwise an outage of the name servers would be one of PostgreSQL and Redis, which can be reached.
"""

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

import structlog
from msgspec import Struct

_log = structlog.get_logger(__name__)

WAIT_SECONDS: Final = 1.0
"""So long a connection waits for a name server, if it knows an address."""
KEPT_SECONDS: Final = 3600.0
"""An address that was looked up longer ago may be that of another machine by now."""

# A name server that answers that a name has no address is not away.
_AWAY: Final = (socket.EAI_AGAIN, socket.EAI_FAIL)


class _Lookup(Struct, frozen=True):
    began_at: float
    has_answer: "Future[bool]"


class _Address(Struct, frozen=True):
    text: str
    looked_up_at: float


class HostNames:
    """Knows which address each host had last. Threads and event loops may share it."""

    def __init__(
        self,
        look_up: Callable[[str], Sequence[Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """*look_up* returns what `socket.getaddrinfo` returns, and may take long."""
        self._look_up = look_up or _look_up
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._lookups: dict[str, _Lookup] = {}
        self._addresses: dict[str, _Address] = {}
        self._away: set[str] = set()

    async def find(self, host: str) -> str:
        """Return what to connect to: *host*, or its last address while no name server answers.

        It takes up to *wait_seconds*.
        """
        if not _is_name(host):
            return host
        lookup = self._begin(host)
        left = max(lookup.began_at + self._wait_seconds - self._clock(), 0)
        with suppress(TimeoutError):
            if await asyncio.wait_for(asyncio.wrap_future(lookup.has_answer), left):
                self._away.discard(host)
                return host
        known = self._addresses.get(host)
        if known is None or known.looked_up_at + KEPT_SECONDS < self._clock():
            return host
        if host not in self._away:
            self._away.add(host)
            _log.warning("name_servers_away", host=host, address=known.text)
        return known.text

    def _begin(self, host: str) -> _Lookup:
        """Return the lookup that runs, or a new one: a thread for each connection would be too many."""
        with self._lock:
            lookup = self._lookups.get(host)
            if lookup is None:
                lookup = self._lookups[host] = _Lookup(self._clock(), Future())
                # Those who no longer wait do not cancel it for others.
                lookup.has_answer.set_running_or_notify_cancel()
                # A daemon, because the resolver of the system may take a minute: no exit should wait for it.
                threading.Thread(target=self._run, args=(host, lookup), daemon=True).start()
        return lookup

    def _run(self, host: str, lookup: _Lookup) -> None:
        has_answer = False
        try:
            found = self._look_up(host)
            has_answer = True
            if found:
                self._addresses[host] = _Address(str(found[0][4][0]), self._clock())
        except socket.gaierror as error:
            has_answer = error.errno not in _AWAY
        except (OSError, UnicodeError) as error:
            _log.info("host_not_looked_up", host=host, reason=repr(error))
        finally:
            with self._lock:
                del self._lookups[host]
            lookup.has_answer.set_result(has_answer)


def _look_up(host: str) -> Sequence[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


def _is_name(host: str) -> bool:
    if not host or host.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


HOST_NAMES: Final = HostNames()
"""The hosts of this process."""
