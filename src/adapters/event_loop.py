"""The event loop of API and workers, in which a cancelled connection leaves no lookup of its host behind."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvloop

_Factory = Callable[[], asyncio.BaseProtocol]


class ServiceLoop(uvloop.Loop):
    """uvloop, except that a connection to a host name looks the name up in its own task.

    uvloop does not cancel the lookup of a connection that is cancelled. If the lookup fails later, as while a
    name server is away, its error is logged as an exception that was never retrieved.
    """

    async def create_connection(
        self, protocol_factory: _Factory, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """Connect to the first address of *host* that accepts. The options are those of asyncio."""
        if not host or _is_address(host):
            return await self._connect(protocol_factory, host, port, options)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host
        hints = {name: options.pop(name, 0) for name in ("family", "proto", "flags")}
        found = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **hints)
        errors: list[OSError] = []
        for address in dict.fromkeys(address for *_, (address, *_) in found):
            try:
                return await self._connect(protocol_factory, address, port, options)
            except ssl.SSLError:
                raise
            except OSError as error:
                errors.append(error)
        if len({str(error) for error in errors}) == 1:
            raise errors[0]
        raise OSError("; ".join(str(error) for error in errors))

    async def _connect(
        self, protocol_factory: _Factory, host: Any, port: Any, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        connected: tuple[Any, Any] = await super().create_connection(protocol_factory, host, port, **options)
        return connected


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
