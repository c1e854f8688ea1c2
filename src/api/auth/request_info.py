"""A copy of the request's headers, so that an open stream does not keep the request alive."""

from typing import Any, Final
from urllib.parse import parse_qs

_MAX_COOKIES: Final = 100


class RequestInfo:
    """The headers, query and peer of one request. Litestar's own parsing would stay with the connection."""

    __slots__ = ("_headers", "scope")

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self._headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            self._headers.setdefault(name, []).append(value.decode("latin-1"))

    @property
    def method(self) -> str | None:
        """The method of a request; None for a socket."""
        method: str | None = self.scope.get("method")
        return method

    @property
    def peer(self) -> str:
        """The address of the other end; empty on a unix socket."""
        client = self.scope["client"]
        return str(client[0]) if client else ""

    def header_values(self, name: str) -> list[str]:
        """Return all values of a header, in the order they were sent."""
        return self._headers.get(name.encode(), [])

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of a header."""
        values = self.header_values(name)
        return values[0] if values else default

    def cookie(self, name: str) -> str:
        """Return a cookie's value; empty if it was not sent."""
        for pair in ";".join(self.header_values("cookie")).split(";", _MAX_COOKIES):
            cookie_name, _, value = pair.strip().partition("=")
            if cookie_name == name:
                return value.strip('"')
        return ""

    def query(self, name: str) -> str:
        """Return a query parameter's first value; empty if it was not sent."""
        values = parse_qs(self.scope["query_string"].decode("latin-1")).get(name)
        return values[0] if values else ""
