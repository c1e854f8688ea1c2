"""The registered pipelines, as an API process remembers them while it accepts jobs."""

import time
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.domain.database import Database

_FRESH_SECONDS: Final = 1.0
_MOST: Final = 1_000

_FIND: Final = """
SELECT name, version, params_schema::text AS params_schema, updated_at FROM pipelines
WHERE name = $1 AND ($2::int IS NULL OR version = $2) ORDER BY version DESC LIMIT 1
"""


class KnownPipeline(Struct, frozen=True):
    """One version of a pipeline; *is_newest* where the submission named none."""

    name: str
    version: int
    params_schema: dict[str, Any]
    updated_at: datetime
    is_newest: bool


class Catalogue:
    """Asks PostgreSQL at most once a second for each pipeline.

    What it says may be a second old: the statement that stores a job checks it again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int | None], tuple[float, KnownPipeline]] = {}

    async def find(self, name: str, version: int | None) -> KnownPipeline | None:
        """That version, or the newest."""
        kept = self._known.get((name, version))
        if kept is not None and time.monotonic() - kept[0] < _FRESH_SECONDS:
            return kept[1]
        rows = await self._database.fetch(_FIND, name, version)
        if not rows:
            return None
        row = rows[0]
        found = KnownPipeline(
            row["name"],
            row["version"],
            msgspec.json.decode(row["params_schema"]),
            row["updated_at"],
            version is None,
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[(name, version)] = (time.monotonic(), found)
        return found

    def forget(self, name: str, version: int | None) -> None:
        """Ask again next time."""
        self._known.pop((name, version), None)
