"""Finds the client's address and scheme. Only trusted proxies may set `X-Forwarded-*`; others are ignored."""

import hmac
import ipaddress
from functools import lru_cache
from typing import Final

from headrace.adapters.ip_addresses import parse_ip
from headrace.api.auth.request_info import RequestInfo
from headrace.settings import Settings

_SECRET_HEADER: Final = "x-headrace-proxy-secret"  # noqa: S105  (its name)
_MAX_HOPS: Final = 20
_NO_ADDRESS: Final = "unix"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that the settings trust, by their address or by a shared secret."""

    def __init__(self, settings: Settings) -> None:
        self._networks = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._secret = (settings.proxy_secret or "").encode()

    @property
    def are_trusted(self) -> bool:
        """Whether the settings trust any proxy."""
        return bool(self._networks or self._secret)

    def is_proxy(self, request: RequestInfo) -> bool:
        """Return whether the peer is a trusted proxy."""
        if self._secret and hmac.compare_digest(request.header(_SECRET_HEADER).encode(), self._secret):
            return True
        peer = _address(request.peer)
        return peer is not None and self._is_trusted(peer)

    def address_of(self, request: RequestInfo) -> str:
        """Return the client's address for rate limits; for IPv6 its /64 network, which one customer has.

        Behind a trusted proxy it is the right-most entry of `X-Forwarded-For` that is not a trusted proxy.
        """
        peer = _address(request.peer)
        client = peer
        if self.are_trusted and self.is_proxy(request):
            hops = ",".join(request.header_values("x-forwarded-for")).split(",")[-_MAX_HOPS:]
            for hop in reversed(hops):
                address = _address(_without_port(hop.strip()))
                if address is None:
                    break
                client = address
                if not self._is_trusted(address):
                    break
        if isinstance(client, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((client, 64), strict=False))
        return str(client) if client is not None else _NO_ADDRESS

    def is_https(self, request: RequestInfo) -> bool:
        """Return whether the client's own connection is encrypted; a trusted proxy may say so."""
        if request.scope["scheme"] in ("https", "wss"):
            return True
        forwarded = request.header("x-forwarded-proto")
        return forwarded.rpartition(",")[2].strip().lower() in ("https", "wss") and self.is_proxy(request)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    address = parse_ip(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
