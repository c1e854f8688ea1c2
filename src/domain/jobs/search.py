"""Searches the texts of jobs, newest first, as far as a bounded amount of text reaches."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from headrace.domain.accounts.reach import Reach
from headrace.domain.database import Database, TimeLimitError
from headrace.domain.jobs.errors import SearchTimeLimitError
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.id_times import MAX_CLOCK_SKEW, first_id_at
from headrace.domain.jobs.state_merge import NEWEST_FIRST, newest_in_states_sql
from headrace.domain.jobs.states import JobState
from headrace.domain.paging import substring_pattern

SEARCH_SECONDS: Final = 1.5
"""PostgreSQL's time limit for a search."""
MAX_SEARCHED_JOBS: Final = 10_000
MAX_SEARCHED_BYTES: Final = 8 * 1024
"""Params and meta that take more bytes in PostgreSQL are not searched. Of others, as many characters are."""
_MAX_COST: Final = 8 * 1024 * 1024
# Every job costs so much, and a byte of its params and meta costs 1.
_JOB_COST: Final = 100
# A compressed value must be decompressed as a whole.
_COST_IF_COMPRESSED: Final = 8

# PostgreSQL reads a JSON value only as a whole, but knows its stored size without reading it.
_SEARCH: Final = """
WITH newest AS (
    SELECT id, created_at, pipeline, params, meta, pg_column_size(params) <= $3 AS has_params,
           pg_column_size(meta) <= $3 AS has_meta, row_number() OVER ({order}) AS place,
           sum({job_cost} + {params_cost} + {meta_cost})
           OVER ({order} ROWS UNBOUNDED PRECEDING) AS cost
    FROM {jobs} {order} LIMIT $2 + 1
), hits AS (
    SELECT id FROM newest
    WHERE (place <= $2 AND cost <= $4 OR place = 1)
      AND (pipeline ILIKE $1 OR id::text ILIKE $1
           OR (has_params AND substr(params::text, 1, $3) ILIKE $1)
           OR (has_meta AND substr(meta::text, 1, $3) ILIKE $1))
)
SELECT ARRAY(SELECT id FROM hits) AS ids, (SELECT max(created_at) FROM newest) AS began_at,
       (SELECT max(created_at) FROM newest WHERE place > $2 OR (cost > $4 AND place > 1)) AS stopped_at
"""
_COST: Final = f"""CASE WHEN pg_column_size({{value}}) > $3 THEN 0
    WHEN pg_column_compression({{value}}) IS NULL THEN pg_column_size({{value}})
    ELSE pg_column_size({{value}}) * {_COST_IF_COMPRESSED} END"""
# There is no index on the times of all users. The ids of jobs begin with the time of their submission.
_NEWEST_OF_ALL: Final = "ORDER BY id DESC"
_MICROSECOND: Final = timedelta(microseconds=1)


class SearchResult(Struct, frozen=True):
    """The filters of a list with the jobs that were found.

    *back_to*: only the jobs created since then were searched; None: all were.
    """

    filters: JobFilter
    back_to: datetime | None = None


class JobSearch:
    """Finds the jobs whose id, pipeline, params or meta contain a text. A search is one statement."""

    def __init__(self, database: Database) -> None:
        """Search through *database*, whose time limit is `SEARCH_SECONDS`."""
        self._database = database

    async def find(self, reach: Reach, filters: JobFilter) -> SearchResult:
        """Return *filters* with the jobs that contain its search text, or as they are without one.

        Raises:
            SearchTimeLimitError: the search took too long.
        """
        if filters.search is None:
            return SearchResult(filters)
        statement, arguments = _statement(reach, filters, filters.search)
        try:
            (row,) = await self._database.fetch(statement, *arguments)
        except TimeLimitError as error:
            raise SearchTimeLimitError(SEARCH_SECONDS) from error
        job_ids = [*row["ids"], *_id_in(filters.search)]
        return SearchResult(
            replace(filters, found=tuple(job_ids)), _back_to(row["began_at"], row["stopped_at"])
        )


def _statement(reach: Reach, filters: JobFilter, text: str) -> tuple[str, Sequence[Any]]:
    """Return the search and its arguments: those conditions that an index serves; the list has the others."""
    arguments: list[Any] = [
        substring_pattern(text),
        MAX_SEARCHED_JOBS,
        MAX_SEARCHED_BYTES,
        _MAX_COST,
    ]
    conditions = []

    def add(condition: str, value: object) -> None:
        arguments.append(value)
        conditions.append(f"{condition} ${len(arguments)}")

    owner_ids = {owner for owner in (reach.owner_id, filters.owner_id) if owner is not None}
    for owner_id in owner_ids:
        add("owner_id =", owner_id)
    if filters.created_after is not None:
        add("created_at >=", filters.created_after)
    if filters.created_before is not None:
        add("created_at <", filters.created_before)
        if not owner_ids:
            add("id <", first_id_at(filters.created_before + MAX_CLOCK_SKEW))
    condition = " AND ".join(conditions) or "true"
    order = NEWEST_FIRST if owner_ids else _NEWEST_OF_ALL
    if owner_ids:
        states = map(JobState, filters.states)
        jobs = newest_in_states_sql(sorted(states), condition, "$2 + 1")
    else:
        jobs = f"jobs WHERE {condition}"
    statement = _SEARCH.format(
        jobs=jobs,
        order=order,
        job_cost=_JOB_COST,
        params_cost=_COST.format(value="params"),
        meta_cost=_COST.format(value="meta"),
    )
    return statement, arguments


def _back_to(began_at: datetime, stopped_at: datetime | None) -> datetime | None:
    """Return the time with which `created_before` continues a search that stopped at a job of *stopped_at*.

    Jobs of a batch have the same time: all of them are searched again, unless the search began with them.
    """
    if stopped_at is None:
        return None
    return stopped_at + _MICROSECOND if began_at > stopped_at else stopped_at


def _id_in(text: str) -> list[UUID]:
    """Return the id that *text* is, however old its job is."""
    try:
        return [UUID(text)]
    except ValueError:
        return []
