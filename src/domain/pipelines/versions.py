"""The key of a pipeline version, `name@version`, under which workers and claims know it. Pure."""

from typing import Final

VERSION_KEY_SQL: Final = "pipeline || '@' || version"
"""The key of a row of `jobs`."""


def version_key(name: str, version: int) -> str:
    """Return `name@version`."""
    return f"{name}@{version}"
