"""What a request shows of its caller: read and let go, so that an open stream keeps none of it."""

from typing import Any, Final
from urllib.parse import parse_qs

_MOST_COOKIES: Final = 100


class RequestInfo:
    """The headers, the query and the peer of one request; Litestar's own reading stays with a connection."""

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

    def every(self, name: str) -> list[str]:
        """The values of a header, in their order."""
        return self._headers.get(name.encode(), [])

    def header(self, name: str, default: str = "") -> str:
        """The first value of a header."""
        return self.every(name)[0] if self.every(name) else default

    def cookie(self, name: str) -> str:
        """A cookie; empty where there is none."""
        for part in ";".join(self.every("cookie")).split(";", _MOST_COOKIES):
            given, _, value = part.strip().partition("=")
            if given == name:
                return value.strip('"')
        return ""

    def query(self, name: str) -> str:
        """A value of the query; empty where there is none."""
        found = parse_qs(self.scope["query_string"].decode("latin-1")).get(name)
        return found[0] if found else ""
