"""Refuses requests below the application, with the same problem documents."""

import asyncio
from collections import Counter
from typing import Final

import msgspec
import structlog
from uvicorn._types import ASGISendCallable

_log = structlog.get_logger(__name__)

_LOG_SECONDS: Final = 60.0


class Refusal(msgspec.Struct, frozen=True):
    """What a protocol answers to a request that it refuses."""

    status: bytes
    code: str
    detail: str

    def response(self) -> bytes:
        _, body = self._problem()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
        return head % (self.status, len(body)) + b"connection: close\r\n\r\n" + body

    async def send(self, send: ASGISendCallable) -> None:
        """Answer a request whose application has sent nothing."""
        status, body = self._problem()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"2"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _problem(self) -> tuple[int, bytes]:
        """Return the status and the problem document."""
        number, _, title = self.status.decode().partition(" ")
        status = int(number)
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
        }
        return status, msgspec.json.encode(problem)


class RequestRefusedError(Exception):
    """The protocol refuses a request. uvicorn takes the request for invalid if its parser raises this."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class RefusalLog:
    """Logs refused requests together: the first at once, those of the next minute in one line at its end."""

    def __init__(self) -> None:
        self._codes: Counter[str] = Counter()
        self._is_gathering = False

    def count(self, code: str) -> None:
        self._codes[code] += 1
        if not self._is_gathering:
            self._log()

    def _log(self) -> None:
        self._is_gathering = bool(self._codes)
        if not self._codes:
            return
        _log.warning("requests_refused", **self._codes)
        self._codes.clear()
        asyncio.get_running_loop().call_later(_LOG_SECONDS, self._log)
