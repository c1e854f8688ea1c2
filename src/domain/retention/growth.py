"""The tables that grow, and the statements that measure them."""

from datetime import timedelta
from typing import Final

from msgspec import Struct

COUNT_BOUND: Final = 10_000
"""Up to so many rows are counted; beyond it, the number of rows is an estimate."""

_DAY: Final = timedelta(days=1)


class Growth(Struct, frozen=True, kw_only=True):
    """Rows that come without end: those of *table* that *condition* selects.

    *oldest*: an SQL expression for the time of the oldest. *rule*: the chore that removes them. *setting*:
    the term that decides, or *keep* if the service decides; without both they go with their job. *size*: the
    column with the bytes that a row stands for, if these are not in the table.
    """

    name: str
    table: str
    oldest: str
    rule: str
    condition: str = "true"
    setting: str | None = None
    keep: timedelta | None = None
    size: str | None = None


def _expiring(table: str, column: str) -> Growth:
    oldest = f"(SELECT min({column}) FROM {table})"  # noqa: S608  (names of this code base)
    return Growth(name=table, table=table, oldest=oldest, rule=table)


# They go with their jobs, and the next job to go is the one that has ended first.
_OLDEST_END: Final = "(SELECT min(finished_at) FROM jobs WHERE finished_at IS NOT NULL)"

GROWING: Final = (
    Growth(
        name="events",
        table="job_changes",
        # Ids begin with their time, so the first one is about the oldest.
        oldest="(SELECT at FROM job_changes ORDER BY job_id, seq LIMIT 1)",
        rule="event_partitions",
    ),
    Growth(name="step_runs", table="step_runs", oldest=_OLDEST_END, rule="jobs"),
    Growth(name="job_tags", table="job_tags", oldest=_OLDEST_END, rule="jobs"),
    Growth(
        name="files",
        table="files",
        oldest="(SELECT min(created_at) FROM files)",
        rule="files",
        setting="files",
        size="size",
    ),
    Growth(
        name="blobs_without_rows",
        table="blob_removals",
        oldest="(SELECT min(at) FROM blob_removals)",
        rule="blob_search",
        keep=_DAY,
        size="size",
    ),
    Growth(
        name="audit_entries",
        table="audit_entries",
        oldest="(SELECT min(at) FROM audit_entries)",
        rule="audit_entries",
        setting="audit",
    ),
    _expiring("idempotency_keys", "created_at"),
    _expiring("transactional_keys", "created_at"),
    _expiring("transactional_submissions", "at"),
    _expiring("login_attempts", "expires_at"),
    _expiring("login_sessions", "expires_at"),
    _expiring("workers", "last_seen_at"),
    _expiring("chore_failures", "failed_at"),
    Growth(
        name="removed_pipelines",
        table="pipelines",
        oldest="(SELECT min(removed_at) FROM pipelines)",
        condition="removed_at IS NOT NULL",
        rule="removed_pipelines",
        keep=timedelta(hours=1),
    ),
)
"""Everything but jobs, which are measured by their state."""

_ALL_JOBS: Final = Growth(name="jobs", table="jobs", oldest="NULL::timestamptz", rule="jobs")

_PARTS: Final = (
    "SELECT '{table}'::regclass"
    " UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = '{table}'::regclass"
)
_ESTIMATE: Final = """
(SELECT coalesce(sum(reltuples) FILTER (WHERE relkind = 'r' AND reltuples > 0), 0)::bigint
 FROM pg_class WHERE oid IN ({parts}))
"""
_BYTES: Final = "(SELECT sum(pg_total_relation_size(part))::bigint FROM ({parts}) parts(part))"
# The bytes of the counted rows stand for those of the others.
_SIZES: Final = """
(SELECT (coalesce(sum(counted.{size}), 0) * greatest(1, {estimate} / {bound}::numeric))::bigint
 FROM (SELECT {size} FROM {table} LIMIT {bound}) counted)
"""


def _measure_sql(growth: Growth) -> str:
    parts = _PARTS.format(table=growth.table)
    estimate, size = _ESTIMATE.format(parts=parts), _BYTES.format(parts=parts)
    if growth.size is not None:
        size = _SIZES.format(size=growth.size, estimate=estimate, bound=COUNT_BOUND, table=growth.table)
    return f"""
SELECT '{growth.name}' AS name,
       (SELECT count(*) FROM (
           SELECT FROM {growth.table} WHERE {growth.condition} LIMIT {COUNT_BOUND + 1}
       ) bounded) AS counted,
       {estimate} AS estimate, {size} AS bytes, {growth.oldest} AS oldest
"""  # noqa: S608  (fragments of this code base)


MEASURE: Final = " UNION ALL ".join(map(_measure_sql, (_ALL_JOBS, *GROWING)))

# $1: the final states. The row without a state is that of pinned jobs.
_LANES: Final = """
pipelines p CROSS JOIN LATERAL (
    SELECT finished_at FROM jobs
    WHERE pipeline = p.name AND version = p.version AND state = kind.state
      AND finished_at IS NOT NULL AND NOT keep
    ORDER BY finished_at LIMIT {limit}
) job
"""
MEASURE_JOBS: Final = f"""
SELECT kind.state, (
    SELECT count(*) FROM (
        SELECT FROM {_LANES.format(limit=COUNT_BOUND + 1)} LIMIT {COUNT_BOUND + 1}
    ) bounded
) AS counted, (SELECT min(finished_at) FROM {_LANES.format(limit=1)}) AS oldest
FROM unnest($1::text[]) AS kind(state)
UNION ALL
SELECT NULL, (SELECT count(*) FROM (SELECT FROM jobs WHERE keep LIMIT {COUNT_BOUND + 1}) bounded),
       (SELECT min(finished_at) FROM jobs WHERE keep)
"""  # noqa: S608  (fragments of this code base)

FETCH_SHARES: Final = """
SELECT common.state, common.share
FROM pg_stats s, unnest(s.most_common_vals::text::text[], s.most_common_freqs) AS common(state, share)
WHERE s.schemaname = current_schema() AND s.tablename = 'jobs' AND s.attname = 'state'
"""
"""Which part of all jobs is in each state, as PostgreSQL has found when it analysed the table last."""
