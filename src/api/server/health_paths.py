"""Recognises health checks before the application runs, also below a path that a proxy does not cut off."""

from collections.abc import Iterable
from typing import Final

_PATHS: Final = ("/health/live", "/health/ready")
_PREFIX_HEADER: Final = b"x-forwarded-prefix"


class HealthPaths:
    """The paths of health checks, as they are and below *prefix*, the path of the public URL."""

    def __init__(self, prefix: str = "") -> None:
        self._paths = frozenset([*_PATHS, *(prefix + path for path in _PATHS)])
        self.requests = tuple(f"GET {path} ".encode() for path in sorted(self._paths))
        """The first bytes of health checks."""

    def match(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a request for *path* is a health check.

        Here any client may name a prefix in its headers: it gains no more than with the path itself.
        """
        if path in self._paths:
            return True
        end = next((end for end in _PATHS if path.endswith(end)), None)
        if end is None:
            return False
        prefix = path.removesuffix(end).encode("latin-1", "replace")
        return any(name == _PREFIX_HEADER and value.strip().rstrip(b"/") == prefix for name, value in headers)
