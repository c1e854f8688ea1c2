"""Bounds the memory of a reply from Redis.

It builds on a private class of redis-py: `tests/unit/test_redis_parser.py` fails if a new version changes it.
"""

from typing import Any, Final

from redis._parsers import _AsyncHiredisParser
from redis.exceptions import ConnectionError  # noqa: A004

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024


class BoundedParser(_AsyncHiredisParser):
    """Ends a connection on which a reply is longer than 64 MiB, which no reply to this service is."""

    __slots__ = ("_received",)

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._received = 0

    async def read_response(self, disable_decoding: bool = False) -> Any:
        response = await super().read_response(disable_decoding)
        self._received = 0
        return response

    async def read_from_socket(self) -> bool:
        if self._received > MAX_REPLY_BYTES:
            raise ConnectionError(f"a reply has more than {MAX_REPLY_BYTES} bytes")
        data = await self._stream.read(self._read_size)  # type: ignore[union-attr]
        if not data:
            raise ConnectionError("Redis has closed the connection")
        self._received += len(data)
        self._reader.feed(data)  # type: ignore[attr-defined]
        return True
