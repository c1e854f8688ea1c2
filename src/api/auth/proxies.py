"""Who really asks: the peer, or whom a trusted proxy names. What others say in `X-Forwarded-*` is nothing."""

import hmac
import ipaddress
from functools import lru_cache
from typing import Final

from headrace.api.auth.request_info import RequestInfo
from headrace.settings import Settings

_SECRET_HEADER: Final = "x-headrace-proxy-secret"  # noqa: S105  (its name)
_MOST_HOPS: Final = 20
_NO_ADDRESS: Final = "unix"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """Those that the settings trust, by their address or by what they know."""

    def __init__(self, settings: Settings) -> None:
        self._networks = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._secret = (settings.proxy_secret or "").encode()

    def is_proxy(self, asked: RequestInfo) -> bool:
        """Whether a trusted proxy is the peer."""
        if self._secret and hmac.compare_digest(asked.header(_SECRET_HEADER).encode(), self._secret):
            return True
        peer = _address(asked.peer)
        return peer is not None and self._is_trusted(peer)

    def address_of(self, asked: RequestInfo) -> str:
        """The caller's address as limits count it: of an IPv6 address the network, which is one customer's.

        Behind a trusted proxy it is the right-most entry of `X-Forwarded-For` that no trusted proxy is.
        """
        peer = _address(asked.peer)
        found = peer
        if (self._networks or self._secret) and self.is_proxy(asked):
            hops = ",".join(asked.every("x-forwarded-for")).split(",")[-_MOST_HOPS:]
            for hop in reversed(hops):
                address = _address(_without_port(hop.strip()))
                if address is None:
                    break
                found = address
                if not self._is_trusted(address):
                    break
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found) if found is not None else _NO_ADDRESS

    def is_https(self, asked: RequestInfo) -> bool:
        """Whether the caller's own connection is encrypted, as far as anybody trusted says so."""
        if asked.scope["scheme"] in ("https", "wss"):
            return True
        said = asked.header("x-forwarded-proto")
        return said.rpartition(",")[2].strip().lower() in ("https", "wss") and self.is_proxy(asked)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
