"""The key of a pipeline version, `name@version`, under which workers and claims know it. Pure."""

from typing import Final

VERSION_KEY_SQL: Final = "((pipeline::text || '@') || version::text)"
"""The key of a row of `jobs`, bracketed as PostgreSQL prints it, so that Alembic can compare indexes."""


def version_key(name: str, version: int) -> str:
    """Return `name@version`."""
    return f"{name}@{version}"
