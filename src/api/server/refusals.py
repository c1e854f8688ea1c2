"""Refuses requests below the application, with the same problem documents."""

import msgspec


class RequestRefusedError(Exception):
    """The protocol refuses a request. uvicorn takes the request for invalid if its parser raises this."""

    def __init__(self, status: bytes, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def response(self) -> bytes:
        number, _, title = self.status.decode().partition(" ")
        problem = {
            "type": "about:blank",
            "title": title,
            "status": int(number),
            "code": self.code,
            "detail": self.detail,
        }
        body = msgspec.json.encode(problem)
        head = b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
        return head % (self.status, len(body)) + b"connection: close\r\n\r\n" + body
