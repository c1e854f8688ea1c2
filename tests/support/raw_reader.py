"""A client on a bare TCP connection with a small receive window, which reads only on request."""

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from support.harness import Api
from support.patience import PATIENCE_SECONDS

_WINDOW = 4096


class RawReader:
    """Reads a response; for a WebSocket it keeps the event numbers and the close code."""

    def __init__(self, connection: socket.socket, *, is_socket: bool) -> None:
        self._connection = connection
        self._is_socket = is_socket
        self._data = b""
        self.seqs: list[int] = []
        self.close_code: int | None = None

    async def head(self) -> bytes:
        """Read only the head of the response."""
        loop = asyncio.get_running_loop()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(self._connection, 1)
        return head

    async def read(self, size: int) -> int:
        """Read up to *size* bytes. Return their number, 0 at the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self._connection, size)
        if self._is_socket:
            self._data += data
            self._parse()
        return len(data)

    async def read_all(self) -> None:
        """Read to the end of the connection.

        Raises:
            ConnectionResetError: the connection was cut.
        """
        while self.close_code is None and await self.read(2**18):
            pass

    def _parse(self) -> None:
        """Parse whole frames as servers send them (RFC 6455, 5.2: unmasked)."""
        while len(self._data) >= 2:
            length, start = self._data[1] & 127, 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(self._data[2:start])
            if len(self._data) < start + length:
                return
            body, kind = self._data[start : start + length], self._data[0] & 15
            self._data = self._data[start + length :]
            if kind == 8:
                self.close_code = int.from_bytes(body[:2])
            elif kind == 1 and b'"seq":' in body[:120]:
                self.seqs.append(msgspec.json.decode(body)["seq"])


@asynccontextmanager
async def raw_reader(api: Api, path: str, *, upgrade: bool) -> AsyncIterator[RawReader]:
    """Request *path*, as a WebSocket with *upgrade*. Yield a reader that has read only the head."""
    host, _, port = api.ws.removeprefix("ws://").partition(":")
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}"]
    if upgrade:
        key = base64.b64encode(os.urandom(16)).decode()
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append(f"Sec-WebSocket-Key: {key}")
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        await loop.sock_connect(connection, (host, int(port)))
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode())
        reader = RawReader(connection, is_socket=upgrade)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.head()
        yield reader
