"""The statement that stores the submissions of many callers at once, with their keys, tags and events."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace.domain.database import Database, Row
from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.claim_rules import due_order_sql
from headrace.domain.jobs.submission.submission import (
    PLACEHOLDER_TEXT,
    StoreResult,
    Submission,
    SubmissionKey,
)
from headrace.domain.quotas.quotas import NO_QUOTAS, QuotaExceededError, Quotas
from headrace.domain.retention.expiry import Expiry
from headrace.domain.tags.errors import TooManyTagsError
from headrace.domain.tags.insert_sql import insert_tags_sql

KEY_EXPIRY: Final = Expiry("idempotency_keys", "created_at", timedelta(hours=24))
_KEY_HAS_EXPIRED: Final = "created_at < statement_timestamp() - interval '24 hours'"

_RUN_AT: Final = "coalesce(s.run_at, statement_timestamp())"


class _QuotaSql(NamedTuple):
    """The parts of the statement that refuse submissions beyond a quota; without quotas they are empty."""

    refused: str = ""
    unless_refused: str = ""
    join_refused: str = ""
    verdict: str = ""
    columns: str = ""


# The requests whose owners have used up a quota. The function locks the owners first.
_REFUSE: Final = _QuotaSql(
    refused="""refused AS MATERIALIZED (
    SELECT refused_request AS request, refused_by AS quota, used
    FROM jobs_beyond_quotas($28::int[], $29::uuid[], $30::int[], $31::text[], $32, $33)
), """,
    unless_refused="AND k.request NOT IN (SELECT request FROM refused)",
    join_refused="LEFT JOIN refused q ON q.request = r.request",
    verdict="WHEN q.request IS NOT NULL THEN 'refused'",
    columns=", q.quota, q.used",
)


class _TraceSql(NamedTuple):
    """The parts of the statement that store the trace of each job; without tracing they are empty."""

    argument: str = ""
    column: str = ""
    value: str = ""

    @classmethod
    def at(cls, place: int) -> "_TraceSql":
        """Return the parts for an argument at that *place*."""
        return cls(f", ${place}::text[]", ", traceparent", ", s.traceparent")


def _store_sql(quota: _QuotaSql, trace: _TraceSql) -> str:
    """Return the statement that stores submissions.

    Presets and tags are locked as foreign keys would lock them. A preset that is deleted at the same time
    makes its submission stale and a deleted tag leaves out its link, instead of failing the whole batch.
    Presets that another transaction has locked are skipped, because it may delete the preset and take long.
    """
    return f"""
WITH {quota.refused}specs AS (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bool[],
                         $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::int[],
                         $12::timestamptz[], $13::int[], $14::float8[], $15::uuid[], $16::text[],
                         $26::bool[]{trace.argument})
    AS s(request, id, owner_id, pipeline, version, is_newest, pipeline_updated_at, params, meta, queue,
         priority, run_at, max_attempts, timeout_seconds, preset_id, request_id, needs_process{trace.column})
), new_keys AS (
    SELECT * FROM unnest($17::int[], $18::uuid[], $19::text[], $20::text[], $21::text[], $27::bytea[])
    AS k(request, owner_id, key, body, response, digest)
), locked_presets AS (
    SELECT id FROM presets WHERE id = ANY($25::uuid[]) ORDER BY id FOR KEY SHARE SKIP LOCKED
), clock AS (
    SELECT to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at_text
), stale AS (
    SELECT DISTINCT s.request FROM specs s
    LEFT JOIN pipelines p ON p.name = s.pipeline AND p.version = s.version
    WHERE p.updated_at IS DISTINCT FROM s.pipeline_updated_at
       OR (s.is_newest AND EXISTS (
           SELECT 1 FROM pipelines n
           WHERE n.name = s.pipeline AND n.version > s.version AND n.removed_at IS NULL))
       OR (s.preset_id IS NOT NULL AND s.preset_id NOT IN (SELECT id FROM locked_presets))
), taken_keys AS (
    INSERT INTO idempotency_keys AS i (owner_id, key, request, request_digest, answer, created_at)
    SELECT k.owner_id, k.key, k.body::jsonb, k.digest,
           convert_to(replace(k.response, $22, clock.at_text), 'UTF8'), statement_timestamp()
    FROM new_keys k CROSS JOIN clock
    WHERE k.request NOT IN (SELECT request FROM stale) {quota.unless_refused}
    ORDER BY k.owner_id, k.key
    ON CONFLICT (owner_id, key) DO UPDATE SET
        request = excluded.request, request_digest = excluded.request_digest, answer = excluded.answer,
        created_at = excluded.created_at
    WHERE i.{_KEY_HAS_EXPIRED}
    RETURNING i.owner_id, i.key
), judged AS (
    SELECT r.request{quota.columns},
           CASE WHEN s.request IS NOT NULL THEN 'stale'
                {quota.verdict}
                WHEN k.key IS NOT NULL AND t.key IS NULL THEN 'repeated' ELSE 'stored' END AS verdict
    FROM (SELECT DISTINCT request FROM specs) r
    LEFT JOIN stale s ON s.request = r.request
    {quota.join_refused}
    LEFT JOIN new_keys k ON k.request = r.request
    LEFT JOIN taken_keys t ON t.owner_id = k.owner_id AND t.key = k.key
), stored AS (
    INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                      due_order, max_attempts, timeout_seconds, preset_id, request_id, needs_process,
                      event_seq, created_at, updated_at{trace.column})
    SELECT s.id, s.owner_id, s.pipeline, s.version, 'queued', s.params::json, s.meta::json, s.queue,
           s.priority, {_RUN_AT}, {due_order_sql(_RUN_AT, "statement_timestamp()", "s.priority")},
           s.max_attempts, s.timeout_seconds, s.preset_id, s.request_id, s.needs_process, 1,
           statement_timestamp(), statement_timestamp(){trace.value}
    FROM specs s JOIN judged j ON j.request = s.request AND j.verdict = 'stored'
    RETURNING id
), logged AS (
    INSERT INTO job_changes (job_id, seq, at, type, body)
    SELECT id, 1, statement_timestamp(), 'job.queued', {event_body_sql()} FROM stored
), tagged AS (
    INSERT INTO job_tags (job_id, tag_id)
    SELECT l.job_id, l.tag_id FROM unnest($23::uuid[], $24::uuid[]) AS l(job_id, tag_id)
    JOIN stored ON stored.id = l.job_id
    JOIN tags t ON t.id = l.tag_id FOR KEY SHARE OF t
)
SELECT j.*, clock.at_text, statement_timestamp() AS at FROM judged j CROSS JOIN clock
"""  # noqa: S608  (fragments of this code base)


# A process of the previous release stores no digest.
_FETCH_KEY: Final = """
SELECT answer, coalesce(request_digest = $4, request = $3::jsonb) AS is_same
FROM idempotency_keys WHERE owner_id = $1 AND key = $2
"""

_INSERT_TAGS: Final = insert_tags_sql("$1", "$2", "$3")


class SubmitRepository:
    """New jobs, the keys of submissions, and the tags of new jobs; each statement is its own transaction."""

    def __init__(
        self, database: Database, quotas: Quotas = NO_QUOTAS, *, stores_traces: bool = False
    ) -> None:
        self._database = database
        self._quotas = quotas
        self._stores_traces = stores_traces
        last_argument = 33 if quotas.limit_jobs else 27
        self._store = _store_sql(
            _REFUSE if quotas.limit_jobs else _QuotaSql(),
            _TraceSql.at(last_argument + 1) if stores_traces else _TraceSql(),
        )

    async def store(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        """Store each submission whole or not at all; *submissions* must have different keys."""
        arguments = _columns(submissions)
        if self._quotas.limit_jobs:
            arguments += _quota_columns(submissions, self._quotas)
        if self._stores_traces:
            arguments.append([submission.traceparent for submission in submissions for _ in submission.jobs])
        rows = await self._database.fetch(self._store, *arguments)
        results = {row["request"]: self._result(row) for row in rows}
        return [results[index] for index in range(len(submissions))]

    def _result(self, row: Row) -> StoreResult:
        verdict = row["verdict"]
        if verdict != "refused":
            return StoreResult(verdict, row["at"], row["at_text"])
        refusal = QuotaExceededError(row["quota"], row["used"], getattr(self._quotas, row["quota"]))
        return StoreResult(verdict, row["at"], row["at_text"], refusal)

    async def fetch_key(self, owner_id: UUID, key: SubmissionKey) -> tuple[bytes | None, bool] | None:
        """Return the stored response, and whether its request was the same (compared as JSON)."""
        rows = await self._database.fetch(_FETCH_KEY, owner_id, key.name, key.request, key.digest)
        return (rows[0]["answer"], rows[0]["is_same"]) if rows else None

    async def any_job_exists(self, job_ids: Sequence[UUID]) -> bool:
        """Whether one of these jobs has not been deleted."""
        return bool(
            await self._database.fetch("SELECT 1 FROM jobs WHERE id = ANY($1::uuid[]) LIMIT 1", list(job_ids))
        )

    async def preset_exists(self, preset_id: UUID) -> bool:
        return bool(await self._database.fetch("SELECT 1 FROM presets WHERE id = $1", preset_id))

    async def ensure_tags(self, owner_id: UUID, names: set[str]) -> dict[str, UUID]:
        """Return the ids of these tags; insert those that the owner lacks.

        Raises:
            TooManyTagsError: the owner would have too many tags.
        """
        ordered = sorted(names)
        insertion = await self._database.fetch(_INSERT_TAGS, owner_id, [uuid7() for _ in ordered], ordered)
        if not insertion[0]["room"]:
            raise TooManyTagsError
        rows = await self._database.fetch(
            "SELECT name, id FROM tags WHERE owner_id = $1 AND name = ANY($2::text[])", owner_id, ordered
        )
        return {row["name"]: row["id"] for row in rows}


def _columns(submissions: Sequence[Submission]) -> list[Any]:
    """Return the arguments of `_STORE`: the rows of jobs, keys and tag links, one list for each column."""
    jobs: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    tag_links: list[tuple[Any, ...]] = []
    preset_ids: set[UUID] = set()
    for index, submission in enumerate(submissions):
        for job in submission.jobs:
            spec, pipeline = job.spec, job.pipeline
            jobs.append(
                (
                    index,
                    job.id,
                    submission.owner_id,
                    pipeline.name,
                    pipeline.version,
                    pipeline.is_newest,
                    pipeline.updated_at,
                    job.params,
                    job.meta,
                    spec.queue,
                    spec.priority,
                    spec.run_at,
                    spec.max_attempts,
                    spec.timeout_seconds,
                    spec.preset_id,
                    submission.request_id,
                )
            )
            if spec.preset_id is not None:
                preset_ids.add(spec.preset_id)
            tag_links += [(job.id, tag_id) for tag_id in job.tag_ids]
        if submission.key is not None:
            key = submission.key
            keys.append((index, submission.owner_id, key.name, key.request, submission.response))
    return [
        *_transposed(jobs, 16),
        *_transposed(keys, 5),
        PLACEHOLDER_TEXT,
        *_transposed(tag_links, 2),
        list(preset_ids),
        [job.pipeline.needs_process for submission in submissions for job in submission.jobs],
        [submission.key.digest for submission in submissions if submission.key is not None],
    ]


def _quota_columns(submissions: Sequence[Submission], quotas: Quotas) -> list[Any]:
    """Return the arguments of `_REFUSE`."""
    rows = [
        (index, submission.owner_id, len(submission.jobs), submission.key and submission.key.name)
        for index, submission in enumerate(submissions)
    ]
    return [*_transposed(rows, 4), quotas.queued_jobs, quotas.running_jobs]


def _transposed(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
