"""The event loop of API and workers, in which connections do not depend on how uvloop looks a host up."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import uvloop

from headrace.adapters.host_names import HOST_NAMES
from headrace.adapters.ip_addresses import parse_ip

_Factory = Callable[[], asyncio.BaseProtocol]


class ServiceLoop(uvloop.Loop):
    """uvloop, except that a connection to a host name looks the name up in its own task.

    uvloop does not cancel the lookup of a connection that is cancelled. If the lookup fails later, as while a
    name server is away, its error is logged as an exception that was never retrieved. The hosts in
    `HOST_NAMES` have addresses also then.
    """

    async def create_connection(
        self, protocol_factory: _Factory, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """Connect to the first address of *host* that accepts. The options are those of asyncio."""
        if not host or parse_ip(host) is not None:
            return await self._connect(protocol_factory, host, port, options)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host
        hints = {name: options.pop(name, 0) for name in ("family", "proto", "flags")}
        errors: list[OSError] = []
        for address in await self._look_up(host, port, hints):
            try:
                return await self._connect(protocol_factory, address, port, options)
            except ssl.SSLError:
                raise
            except OSError as error:
                errors.append(error)
        if len({str(error) for error in errors}) == 1:
            raise errors[0]
        raise OSError("; ".join(str(error) for error in errors))

    async def _look_up(self, host: str, port: Any, hints: dict[str, int]) -> Iterable[str]:
        if host in HOST_NAMES and not any(hints.values()):
            return await HOST_NAMES.find(host)
        found = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **hints)
        return dict.fromkeys(address for *_, (address, *_) in found)

    async def _connect(
        self, protocol_factory: _Factory, host: Any, port: Any, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        connected: tuple[Any, Any] = await super().create_connection(protocol_factory, host, port, **options)
        return connected
