"""Remembers the addresses of PostgreSQL and Redis for the time in which no name server answers.

Otherwise an outage of the name servers would be one of servers that can be reached.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
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
    addresses: "Future[Sequence[str]]"


class _NameAnswer(Struct, frozen=True):
    addresses: Sequence[str]
    given_at: float


class HostNames:
    """Knows the last addresses of some hosts. Threads and event loops may share it."""

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
        self._hosts: set[str] = set()
        self._lookups: dict[str, _Lookup] = {}
        self._answers: dict[str, _NameAnswer] = {}
        self._away: set[str] = set()

    def keep(self, hosts: Iterable[str]) -> None:
        """Remember the addresses of *hosts* from now on."""
        self._hosts.update(hosts)

    def __contains__(self, host: str) -> bool:
        return host in self._hosts

    async def find(self, host: str) -> Sequence[str]:
        """Return the addresses of *host*, or the last ones while no name server answers.

        It waits up to *wait_seconds*; without an earlier answer, as long as the resolver of the system does.

        Raises:
            OSError: the host is unknown, or no name server answers and none has answered within an hour.
        """
        lookup, last = self._begin(host), self._last_answer(host)
        answer = asyncio.wrap_future(lookup.addresses)
        if last is None:
            return await answer
        try:
            left = max(lookup.began_at + self._wait_seconds - self._clock(), 0)
            addresses = await asyncio.wait_for(answer, left)
        except TimeoutError:
            return self._stand_in(host, last)
        except socket.gaierror as error:
            if error.errno not in _AWAY:
                raise
            return self._stand_in(host, last)
        self._away.discard(host)
        return addresses

    def _stand_in(self, host: str, last: _NameAnswer) -> Sequence[str]:
        if host not in self._away:
            self._away.add(host)
            _log.warning("name_servers_away", host=host, addresses=list(last.addresses))
        return last.addresses

    def _last_answer(self, host: str) -> _NameAnswer | None:
        answer = self._answers.get(host)
        is_old = answer is not None and answer.given_at + KEPT_SECONDS < self._clock()
        return None if is_old else answer

    def _begin(self, host: str) -> _Lookup:
        """Return the lookup that runs, or a new one: a thread for each connection would be too many."""
        with self._lock:
            lookup = self._lookups.get(host)
            if lookup is None:
                lookup = self._lookups[host] = _Lookup(self._clock(), Future())
                # Those who no longer wait do not cancel it for others.
                lookup.addresses.set_running_or_notify_cancel()
                # A daemon, because the resolver of the system may take a minute: no exit should wait for it.
                threading.Thread(target=self._run, args=(host, lookup), daemon=True).start()
        return lookup

    def _run(self, host: str, lookup: _Lookup) -> None:
        try:
            addresses = list(dict.fromkeys(str(place[0]) for *_, place in self._look_up(host)))
        except OSError as error:
            self._end(host)
            lookup.addresses.set_exception(error)
        except UnicodeError as error:
            self._end(host)
            lookup.addresses.set_exception(socket.gaierror(socket.EAI_NONAME, f"no name of a host: {error}"))
        else:
            self._answers[host] = _NameAnswer(addresses, self._clock())
            self._end(host)
            lookup.addresses.set_result(addresses)

    def _end(self, host: str) -> None:
        with self._lock:
            del self._lookups[host]


def _look_up(host: str) -> Sequence[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


HOST_NAMES: Final = HostNames()
"""The hosts of this process's servers."""
