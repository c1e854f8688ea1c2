"""The path below which a proxy publishes the service, such as `/headrace`; empty without such a proxy."""

import re
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo

_HEADER: Final = b"x-forwarded-prefix"
_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+", re.ASCII)
_MAX_LENGTH: Final = 200
_SCOPE_KEY: Final = "headrace.prefix"


class PathPrefix(Struct, frozen=True):
    """A prefix, *text*, without a slash at its end. *roots* are the first parts of the service's paths."""

    text: str
    roots: frozenset[str]

    def cut(self, path: str) -> str:
        """Return *path* without the prefix, if it has it.

        A prefix may look like a path of the service: below `/api`, `/api/v1/jobs` has been cut already, and
        `/api/api/v1/jobs` has not.
        """
        if path != self.text and not path.startswith(f"{self.text}/"):
            return path
        rest = path[len(self.text) :] or "/"
        is_ambiguous = _first_part(path) in self.roots
        return path if is_ambiguous and _first_part(rest) not in self.roots else rest


def prefix_of(scope: Any) -> str:
    """Return the prefix of a request: without a slash at its end, so empty without a prefix."""
    prefix: PathPrefix | None = scope.get(_SCOPE_KEY)
    return "" if prefix is None else prefix.text


def with_prefix(scope: Any, path: str) -> str:
    """Return the address at which a browser finds *path* of the service."""
    return prefix_of(scope) + path


def without_prefix(scope: Any, path: str) -> str:
    """Return the path of the service that a browser finds at *path*, which may lack the prefix."""
    prefix: PathPrefix | None = scope.get(_SCOPE_KEY)
    return path if prefix is None else prefix.cut(path)


class PathPrefixes:
    """Finds the prefix of each request: that of `X-Forwarded-Prefix`, or else that of the public URL.

    Only trusted proxies may send that header: it decides where links and cookies of the answer lead.
    """

    def __init__(self, default: str, proxies: Proxies, paths: Iterable[str]) -> None:
        """*default*: the prefix of the public URL. *paths* are those of the service."""
        self._default = default
        self._proxies = proxies
        self._roots = frozenset(_first_part(path) for path in paths) - {""}

    def enter(self, scope: Any) -> None:
        """Note the prefix in *scope*, and cut it off the path if the proxy has not done so."""
        text = self._forwarded(scope) if self._proxies.are_trusted else None
        text = self._default if text is None else text
        if text:
            prefix = scope[_SCOPE_KEY] = PathPrefix(text, self._roots)
            scope["path"] = prefix.cut(scope["path"])

    def _forwarded(self, scope: Any) -> str | None:
        values = [value for name, value in scope["headers"] if name == _HEADER]
        if not values or not self._proxies.is_proxy(RequestInfo(scope)):
            return None
        # A proxy that adds a header instead of replacing it puts its own behind that of the client.
        prefix = values[-1].decode("latin-1").strip().rstrip("/")
        return prefix if len(prefix) <= _MAX_LENGTH and (not prefix or _PREFIX.fullmatch(prefix)) else None


def relocate(scope: Any, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return *headers* with the prefix before a `Location` that is a path of the service."""
    prefix = prefix_of(scope).encode()
    return [
        (name, prefix + value) if name.lower() == b"location" and _is_own_path(value) else (name, value)
        for name, value in headers
    ]


def _is_own_path(location: bytes) -> bool:
    return location.startswith(b"/") and not location.startswith(b"//")


def _first_part(path: str) -> str:
    return path.split("/", 2)[1]
