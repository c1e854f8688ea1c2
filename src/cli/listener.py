"""Opens the socket that the API listens on."""

import errno
import socket
from typing import Final

from headrace.domain.errors import HeadraceError

_ACCEPTS_PER_TURN: Final = 16
_PORTS_TRIED: Final = 1_000


class PortTakenError(HeadraceError):
    """The API cannot listen at that address. *errno* is that of the system's error."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        self.errno = error.errno
        reason = "it is in use" if error.errno == errno.EADDRINUSE else str(error.strerror).lower()
        super().__init__(f"cannot listen on {host} port {port}: {reason}; choose another port with --port")


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, before anything else starts. Port 0 means any free port.

    Raises:
        PortTakenError: the port is in use, or *host* is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise PortTakenError(host, port, error) from error
    return listener


def find_free_ports(host: str, first: int, count: int, *, besides: int) -> list[int]:
    """Return *count* ports from *first* on that are free now, without *besides*; 0 for those not found.

    *first* 0 means that no ports are wanted. If *host* is not an address of this machine, all ports are
    *first*, so that each process that listens there says why it cannot.
    """
    ports: list[int] = []
    for port in range(first, min(first + _PORTS_TRIED, 65536)) if first else ():
        if len(ports) == count:
            break
        if port == besides:
            continue
        try:
            with listen(host, port):
                ports.append(port)
        except PortTakenError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return [first] * count
    return ports + [0] * (count - len(ports))


def listeners_of(listener: socket.socket) -> list[socket.socket]:
    """Return *listener* and duplicates of it, so that several connections are accepted in a turn of the loop.

    libuv accepts one a turn from each of them. A health check must not wait for hundreds of turns behind the
    connections of a flood.
    """
    return [listener, *(listener.dup() for _ in range(_ACCEPTS_PER_TURN - 1))]
