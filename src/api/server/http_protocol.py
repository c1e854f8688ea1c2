"""uvicorn's HTTP protocol with limits on the size of a request's head and on how long a write may stall."""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.api.server.write_timeout import WriteTimeout

_MAX_HEAD_BYTES: Final = 64 * 1024
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class HttpProtocol(WriteTimeout, HttpToolsProtocol):
    """Serves requests, event streams and downloads on one connection.

    httptools accepts heads and trailers of any length; past 64 KiB this class answers 431. It drops trailers:
    a proxy that names the user in a header may pass on a trailer of that name which the user wrote.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_head_parsed = False
        self._has_progressed = False
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._has_progressed = False
        super().data_received(data)
        self._head_bytes = 0 if self._has_progressed else self._head_bytes + len(data)
        if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._is_head_parsed = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_parsed:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_head_parsed = self._has_progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_progressed = True
        super().on_message_complete()
