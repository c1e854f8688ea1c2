"""Removes the rows of uploads, and of the files of ended jobs, that are past their term.

A trigger notes the bytes of removed rows, and workers remove them.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from headrace.domain.database import Database
from headrace.domain.jobs.states import JobState
from headrace.domain.retention.rule import NOTHING_LEFT, Batch
from headrace.domain.retention.terms import horizon

_PERIOD: Final = timedelta(minutes=10)
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
_UNFINISHED: Final = ", ".join(f"'{state}'" for state in JobState if not state.is_final)
_HEX: Final = "[0-9a-f]"
# A job may name a file without the hyphens of its id.
_UUID: Final = "-?".join(f"{_HEX}{{{length}}}" for length in (8, 4, 4, 4, 12))

_OLD: Final = """
SELECT f.id, f.created_at, f.owner_id, f.job_id FROM files f
WHERE f.created_at < $1 AND (f.job_id IS NULL OR EXISTS (
    SELECT FROM jobs j WHERE j.id = f.job_id AND NOT j.keep AND j.finished_at < $1
))
"""
# Unfinished jobs and presets may name an upload, or a file of an ended job, anywhere in their parameters.
_NAMED: Final = f"""
SELECT match[1]::uuid AS id FROM (
    SELECT params::text AS params FROM jobs
    WHERE owner_id IN (SELECT owner_id FROM old) AND state IN ({_UNFINISHED})
    UNION ALL
    SELECT params::text FROM presets WHERE owner_id IN (SELECT owner_id FROM old)
) uses CROSS JOIN LATERAL regexp_matches(uses.params, '({_UUID})', 'gi') AS match
"""  # noqa: S608  (fragments of this code base)
_IS_UNUSED: Final = "old.id NOT IN (SELECT id FROM named)"
_PRUNE: Final = f"""
WITH old AS MATERIALIZED (
    {_OLD} AND (f.created_at, f.id) > ($2, $3)
    ORDER BY f.created_at, f.id LIMIT $4 FOR UPDATE OF f SKIP LOCKED
), named AS MATERIALIZED ({_NAMED}), pruned AS (
    DELETE FROM files USING old WHERE files.id = old.id AND {_IS_UNUSED} RETURNING files.id
)
SELECT created_at, id, (SELECT count(*) FROM pruned)::int AS pruned, (SELECT count(*) FROM old)::int AS old
FROM old ORDER BY created_at DESC, id DESC LIMIT 1
"""  # noqa: S608  (fragments of this code base)
_COUNT: Final = f"""
WITH old AS MATERIALIZED ({_OLD}), named AS MATERIALIZED ({_NAMED})
SELECT count(*) AS files FROM old WHERE {_IS_UNUSED}
"""  # noqa: S608  (fragments of this code base)


class FileRule:
    """Keeps the files of unfinished and of pinned jobs, and those that unfinished jobs or presets name."""

    name = "files"
    period = _PERIOD

    def __init__(self, database: Database, term: timedelta) -> None:
        self._database = database
        self._term = term
        self._pass: datetime | None = None
        self._position = _START

    async def prune(self, now: datetime, limit: int) -> Batch:
        """Remove the rows of the next *limit* files that are past their term, without those that are kept."""
        before = horizon(now, self._term)
        if before is None:
            return NOTHING_LEFT
        if self._pass != now:
            self._position, self._pass = _START, now
        rows = await self._database.fetch(_PRUNE, before, *self._position, limit)
        if not rows or rows[0]["old"] < limit:
            self._position = _START
        else:
            self._position = (rows[0]["created_at"], rows[0]["id"])
        return Batch(rows[0]["pruned"] if rows else 0, is_last=self._position == _START)

    async def count(self, now: datetime) -> int:
        before = horizon(now, self._term)
        return 0 if before is None else int((await self._database.fetch(_COUNT, before))[0]["files"])
