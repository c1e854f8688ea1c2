"""Keeps `local` mode, where every caller is the dev user, on this machine: its addresses and its names."""

from typing import Final
from urllib.parse import urlsplit

import structlog

from headrace.adapters.ip_addresses import parse_ip
from headrace.api.auth.request_info import RequestInfo
from headrace.api.errors import OriginRefusedError
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_LOCALHOST: Final = "localhost"


class RemoteRefusedError(HeadraceError):
    """The service would listen beyond this machine in `local` mode, where every caller is the dev user."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"HEADRACE_AUTH=local lets everybody in, so {host} is refused: listen on 127.0.0.1, or set"
            " HEADRACE_ALLOW_REMOTE=true where something else keeps strangers out"
        )
        self.host = host


class LocalHosts:
    """The values of `Host` that local mode answers to. Other modes answer to all.

    A page of a stranger can have its own name point to this machine (DNS rebinding). Its requests then come
    from the origin that they go to, and only the name tells them from those of our own pages.
    """

    def __init__(self, settings: Settings) -> None:
        own = [] if settings.public_url is None else [urlsplit(settings.public_url).hostname or ""]
        self._names = frozenset(name.casefold() for name in (_LOCALHOST, *own, *settings.allowed_hosts))
        self._is_local = settings.auth == "local"

    def check(self, request: RequestInfo) -> None:
        """Check the `Host` header.

        Raises:
            OriginRefusedError: the service is in local mode, and the host is missing or not listed.
        """
        hosts = request.header_values("host") or [""]
        if self._is_local and not all(self._is_listed(host_of(host)) for host in hosts):
            raise OriginRefusedError(
                "in local mode the service answers to localhost, to addresses, and to the names in"
                " HEADRACE_PUBLIC_URL and HEADRACE_ALLOWED_HOSTS only"
            )

    def _is_listed(self, host: str) -> bool:
        # Names below `localhost` cannot be registered, and browsers resolve them to this machine.
        return (
            host in self._names
            or host.endswith(f".{_LOCALHOST}")
            or parse_ip(host.removeprefix("[").removesuffix("]")) is not None
        )


def refuse_remote(host: str, settings: Settings) -> None:
    """Keep `local` mode on this machine.

    Raises:
        RemoteRefusedError: *host* is not a loopback address, and HEADRACE_ALLOW_REMOTE is not set.
    """
    if settings.auth != "local":
        return
    if not is_loopback(host) and not settings.allow_remote:
        raise RemoteRefusedError(host)
    _log.warning("local_auth", warning="everybody who reaches this address is the dev user", host=host)


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine, by name or by address."""
    address = parse_ip(host.strip("[]"))
    return host == _LOCALHOST or (address is not None and address.is_loopback)


def host_of(header: str) -> str:
    """Return the host of a `Host` header in lower case, without its port and the dot of a full name."""
    host = header if header.endswith("]") else header.rpartition(":")[0] or header
    return host.casefold().removesuffix(".")
