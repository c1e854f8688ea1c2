"""An API process's cache of registered pipelines, which it needs to accept jobs."""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.ttl_cache import TtlCache

_TTL_SECONDS: Final = 1.0
_MAX_ENTRIES: Final = 1_000

_FETCH: Final = """
SELECT name, version, params_schema::text AS params_schema, updated_at, NOT EXISTS (
    SELECT 1 FROM jsonb_array_elements(graph) AS step
    WHERE step->'after' = '[]' AND step->>'runs_in' <> 'process'
) AND graph <> '[]' AS needs_process
FROM pipelines
WHERE name = $1 AND ($2::int IS NULL OR version = $2) AND removed_at IS NULL ORDER BY version DESC LIMIT 1
"""


_NAMES: Final = "SELECT DISTINCT name FROM pipelines WHERE removed_at IS NULL LIMIT $1"
MAX_NAMES: Final = 100
"""Comparing a misspelt name with as many takes a few milliseconds."""


class CachedPipeline(Struct, frozen=True):
    """The part of a pipeline version that a submission needs. *is_newest*: no version was named.

    *needs_process*: its first steps all run in processes.
    """

    name: str
    version: int
    params_schema: dict[str, Any]
    updated_at: datetime
    is_newest: bool
    needs_process: bool = False


class Catalogue:
    """Queries PostgreSQL at most once a second for each pipeline.

    An entry may be a second old, so the statement that stores a job checks the version again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: TtlCache[None, frozenset[str]] = TtlCache(ttl_seconds=_TTL_SECONDS, max_entries=1)
        self._cache: TtlCache[tuple[str, int | None], CachedPipeline] = TtlCache(
            ttl_seconds=_TTL_SECONDS, max_entries=_MAX_ENTRIES
        )

    async def get(self, name: str, version: int | None) -> CachedPipeline | None:
        """Return one version of a pipeline, by default its newest; None if it is unknown or removed."""
        cached = self._cache.get((name, version))
        if cached is not None:
            return cached
        rows = await self._database.fetch(_FETCH, name, version)
        if not rows:
            return None
        row = rows[0]
        pipeline = CachedPipeline(
            row["name"],
            row["version"],
            msgspec.json.decode(row["params_schema"]),
            row["updated_at"],
            version is None,
            row["needs_process"],
        )
        self._cache.put((name, version), pipeline)
        return pipeline

    async def names(self) -> frozenset[str]:
        """Return the names of pipelines to compare a misspelt one with, at most `MAX_NAMES`."""
        names = self._names.get(None)
        if names is None:
            names = frozenset(row["name"] for row in await self._database.fetch(_NAMES, MAX_NAMES))
            self._names.put(None, names)
        return names

    def evict(self, name: str, version: int | None) -> None:
        """Drop an entry, so that the next call queries PostgreSQL."""
        self._cache.evict((name, version))
