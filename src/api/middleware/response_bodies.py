"""Compresses large JSON, and answers 304 where the client already has the object.

Bodies in one piece only: event streams and files come in several, and go through unchanged.
"""

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from headrace.domain.heavy_work import HeavyWork

Header = tuple[bytes, bytes]

TAGGED: Final = "tagged"
"""In `opt` of a handler: its response gets an entity tag."""
SHOWS_SECRET: Final = "shows_secret"  # noqa: S105  (its name)
"""In `opt` of a handler: its response contains a credential, so it is not compressed."""

_MIN_COMPRESSED: Final = 1024
# Compressing or hashing a piece takes less than a millisecond.
_PIECE_BYTES: Final = 64 * 1024
# Level 1 makes JSON nearly as small as level 6, in a third of the time.
_LEVEL: Final = 1
_GZIP_FORMAT: Final = 31
_ENTITY_TAG: Final = re.compile(rb'(?:W/)?"([^"]*)"|(\*)')
_DIGEST_BYTES: Final = 12
_JSON: Final = b"application/json"
# A page of another origin can make its visitor's browser send requests, and measure the compressed length
# of the responses. Browsers say so in this header, which no page can set.
_OWN_PAGES: Final = (None, b"same-origin", b"none")


class ResponseBodiesMiddleware:
    """Replaces bodies of responses by shorter ones."""

    def __init__(self, next_app: ASGIApp) -> None:
        self._next_app = next_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            send = _Response(scope, send).send
        await self._next_app(scope, receive, send)


class _Response:
    """The response to one request. Its start is held back until its body is known, if that may change it."""

    __slots__ = ("_headers", "_is_compressible", "_is_tagged", "_scope", "_send", "_start")

    def __init__(self, scope: Any, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: HTTPResponseStartEvent | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._may_change(message):
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            if not message["more_body"]:
                message = await self._changed(start, message["body"])
            await self._send(start)
        await self._send(message)

    def _may_change(self, start: HTTPResponseStartEvent) -> bool:
        if not 200 <= start["status"] < 300:
            return False
        headers = dict(start["headers"])
        if headers.get(b"content-type") != _JSON or b"etag" in headers:
            return False
        handler = self._scope.get("route_handler")
        opt = {} if handler is None else handler.opt
        length = int(headers.get(b"content-length", 0))
        self._is_compressible = length >= _MIN_COMPRESSED and SHOWS_SECRET not in opt
        self._is_tagged = TAGGED in opt and start["status"] == 200
        return self._is_compressible or self._is_tagged

    async def _changed(self, start: HTTPResponseStartEvent, body: bytes) -> Message:
        """Return the message with the body to send, and change the headers in *start* accordingly."""
        headers = list(start["headers"])
        wanted = _first_values(self._scope, b"accept-encoding", b"if-none-match", b"sec-fetch-site")
        heavy_work: HeavyWork = self._scope["litestar_app"].state.services.heavy_work
        if self._is_compressible:
            headers.append((b"vary", b"Accept-Encoding"))
        if self._is_tagged:
            tag = await _digest(body, heavy_work)
            headers += [(b"etag", b'W/"%s"' % tag), (b"cache-control", b"private, no-cache")]
            if _names(wanted.get(b"if-none-match", b""), tag):
                start["status"], body = 304, b""
                headers = [header for header in headers if not header[0].startswith(b"content-")]
        if (
            body
            and self._is_compressible
            and _accepts_gzip(wanted.get(b"accept-encoding", b""))
            and wanted.get(b"sec-fetch-site") in _OWN_PAGES
        ):
            body = await _compress(body, heavy_work)
            headers = [header for header in headers if header[0] != b"content-length"]
            headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
        start["headers"] = headers
        return {"type": "http.response.body", "body": body, "more_body": False}


def _first_values(scope: Any, *names: bytes) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in names:
            values[name] = values[name] + b"," + value if name in values else value
    return values


@lru_cache(maxsize=256)
def _accepts_gzip(accepted: bytes) -> bool:
    """Return whether an `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3)."""
    weights = {}
    for part in accepted.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        weights[coding.strip()] = re.sub(rb"\s", b"", parameters)
    weight = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*")))
    return weight is not None and re.fullmatch(rb"q=0(\.0*)?", weight) is None


def _names(condition: bytes, tag: bytes) -> bool:
    """Return whether an `If-None-Match` names *tag*, compared weakly."""
    return any(match[1] == tag or match[2] for match in _ENTITY_TAG.finditer(condition))


async def _digest(body: bytes, heavy_work: HeavyWork) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for index, piece in enumerate(_pieces(body)):
        if index:
            await heavy_work.take_turn()
        digest.update(piece)
    return digest.hexdigest().encode()


async def _compress(body: bytes, heavy_work: HeavyWork) -> bytes:
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP_FORMAT)
    compressed = []
    for index, piece in enumerate(_pieces(body)):
        # In the steps of its request, so that they count as work of its user.
        if index:
            await heavy_work.take_turn()
        compressed.append(compressor.compress(piece))
    compressed.append(compressor.flush())
    return b"".join(compressed)


def _pieces(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    return (view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES))
