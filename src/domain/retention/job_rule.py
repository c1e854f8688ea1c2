"""Prunes jobs that have ended and are past their term.

Foreign keys and triggers delete the history and the links of a pruned job in the same statement, and note the
bytes of its files for removal. So a process that is killed leaves nothing half done.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.retention.pipeline_terms import fetch_pipeline_terms
from headrace.domain.retention.rule import NOTHING_LEFT, Batch
from headrace.domain.retention.terms import END_STATES, EndState, RetentionTerms, horizon

_PERIOD: Final = timedelta(minutes=1)
_MAX_EVENTS: Final = 20_000
"""A job has at most as many rows in other tables as it has events, so this bounds a statement."""

# $1 to $4: the lanes, a column each.
_LANE_JOBS: Final = """
unnest($1::text[], $2::int[], $3::text[], $4::timestamptz[]) AS lane(pipeline, version, state, ended_before)
CROSS JOIN LATERAL (
    SELECT {columns} FROM jobs
    WHERE pipeline = lane.pipeline AND version = lane.version AND state = lane.state
      AND NOT keep AND finished_at < lane.ended_before
    {rest}
) job
"""
_DUE_LANES: Final = (
    f"SELECT lane.* FROM {_LANE_JOBS.format(columns='id', rest='ORDER BY finished_at LIMIT 1')}"  # noqa: S608
)
_COUNT: Final = f"SELECT sum(jobs) AS jobs FROM {_LANE_JOBS.format(columns='count(*) AS jobs', rest='')}"  # noqa: S608
_OLDEST_FIRST: Final = "ORDER BY finished_at LIMIT (SELECT $5::int) FOR UPDATE SKIP LOCKED"
_PRUNE: Final = f"""
WITH ended AS MATERIALIZED (
    SELECT job.id, job.event_seq
    FROM {_LANE_JOBS.format(columns="id, event_seq", rest=_OLDEST_FIRST)}
    LIMIT (SELECT $5::int)
), chosen AS (
    SELECT id FROM (
        SELECT id, sum(event_seq) OVER in_order AS events, row_number() OVER in_order AS place
        FROM ended WINDOW in_order AS (ORDER BY id)
    ) weighed WHERE events <= $6 OR place = 1
), pruned AS (
    DELETE FROM jobs USING chosen WHERE jobs.id = chosen.id RETURNING jobs.id
)
SELECT (SELECT count(*) FROM pruned)::int AS pruned, (SELECT count(*) FROM ended)::int AS ended
"""  # noqa: S608  (fragments of this code base)


class PruneLane(Struct, frozen=True):
    """The jobs of one pipeline version that have ended in one state; those *before* that time are pruned."""

    pipeline: str
    version: int
    state: EndState
    before: datetime


class JobRule:
    """Prunes ended jobs: neither unfinished nor pinned ones."""

    name = "jobs"
    period = _PERIOD

    def __init__(self, database: Database, terms: RetentionTerms) -> None:
        self._database = database
        self._terms = terms
        self._pass: datetime | None = None
        self._due: list[PruneLane] = []

    async def prune(self, now: datetime, limit: int) -> Batch:
        """Prune up to *limit* jobs. The first call at a time *now* looks where there are some."""
        if self._pass != now:
            # Not left over from a pass that has failed: meanwhile a pipeline may keep its jobs longer.
            self._due, self._pass = await self._fetch_due(now), now
        if not self._due:
            self._pass = None
            return NOTHING_LEFT
        rows = await self._database.fetch(_PRUNE, *_columns(self._due), limit, _MAX_EVENTS)
        pruned, ended = rows[0]["pruned"], rows[0]["ended"]
        is_last = ended < limit and pruned == ended
        if is_last:
            self._pass = None
        return Batch(pruned, is_last=is_last)

    async def count(self, now: datetime) -> int:
        rows = await self._database.fetch(_COUNT, *_columns(await self._fetch_lanes(now)))
        return int(rows[0]["jobs"] or 0)

    async def _fetch_due(self, now: datetime) -> list[PruneLane]:
        """Return the lanes with jobs to prune. Most pipelines have none, and each statement reads these."""
        rows = await self._database.fetch(_DUE_LANES, *_columns(await self._fetch_lanes(now)))
        return [PruneLane(row["pipeline"], row["version"], row["state"], row["ended_before"]) for row in rows]

    async def _fetch_lanes(self, now: datetime) -> list[PruneLane]:
        lanes = []
        for terms in await fetch_pipeline_terms(self._database):
            own = terms.own or {}
            for state in END_STATES:
                before = horizon(now, own.get(state, self._terms.of_state(state)))
                if before is not None:
                    lanes.append(PruneLane(terms.pipeline, terms.version, state, before))
        return lanes


def _columns(lanes: Sequence[PruneLane]) -> list[list[object]]:
    return [
        [lane.pipeline for lane in lanes],
        [lane.version for lane in lanes],
        [lane.state for lane in lanes],
        [lane.before for lane in lanes],
    ]
