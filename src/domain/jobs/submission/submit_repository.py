"""The statement that stores submissions, those of many callers at a time, and what belongs to it."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace.domain.database import Database
from headrace.domain.events.sql import event_body_sql
from headrace.domain.jobs.claim_rules import due_order_sql
from headrace.domain.jobs.submission.submission import NOT_YET_TEXT, StoreResult, Submission
from headrace.domain.tags.links import insert_tags_sql

# Presets and tags are locked as the keys that refer to them would: one that is deleted meanwhile makes its
# submission stale, or its link missing, instead of failing all that is stored with it. Nobody waits for a
# preset: whoever deletes one may be at it for long.
_STORE: Final = f"""
WITH o AS (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bool[],
                         $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::int[],
                         $12::timestamptz[], $13::int[], $14::float8[], $15::uuid[], $16::text[])
    AS o(request, id, owner_id, pipeline, version, is_newest, known_at, params, meta, queue, priority,
         run_at, max_attempts, timeout_seconds, preset_id, request_id)
), k AS (
    SELECT * FROM unnest($17::int[], $18::uuid[], $19::text[], $20::text[], $21::text[])
    AS k(request, owner_id, key, body, answer)
), presets_kept AS (
    SELECT id FROM presets WHERE id = ANY($25::uuid[]) ORDER BY id FOR KEY SHARE SKIP LOCKED
), clock AS (
    SELECT to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS moment
), stale AS (
    SELECT DISTINCT o.request FROM o
    LEFT JOIN pipelines p ON p.name = o.pipeline AND p.version = o.version
    WHERE p.updated_at IS DISTINCT FROM o.known_at
       OR (o.is_newest AND EXISTS (
           SELECT 1 FROM pipelines n WHERE n.name = o.pipeline AND n.version > o.version))
       OR (o.preset_id IS NOT NULL AND o.preset_id NOT IN (SELECT id FROM presets_kept))
), taken AS (
    INSERT INTO idempotency_keys AS i (owner_id, key, request, answer, created_at)
    SELECT k.owner_id, k.key, k.body::jsonb, convert_to(replace(k.answer, $22, clock.moment), 'UTF8'),
           statement_timestamp()
    FROM k CROSS JOIN clock WHERE k.request NOT IN (SELECT request FROM stale) ORDER BY k.owner_id, k.key
    ON CONFLICT (owner_id, key) DO UPDATE SET
        request = excluded.request, answer = excluded.answer, created_at = excluded.created_at
    WHERE i.created_at < statement_timestamp() - interval '24 hours'
    RETURNING i.owner_id, i.key
), judged AS (
    SELECT r.request, CASE WHEN s.request IS NOT NULL THEN 'stale'
                           WHEN k.key IS NOT NULL AND t.key IS NULL THEN 'repeated' ELSE 'made' END AS verdict
    FROM (SELECT DISTINCT request FROM o) r
    LEFT JOIN stale s ON s.request = r.request
    LEFT JOIN k ON k.request = r.request
    LEFT JOIN taken t ON t.owner_id = k.owner_id AND t.key = k.key
), made AS (
    INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                      due_order, max_attempts, timeout_seconds, preset_id, request_id, event_seq,
                      created_at, updated_at)
    SELECT o.id, o.owner_id, o.pipeline, o.version, 'queued', o.params::jsonb, o.meta::jsonb, o.queue,
           o.priority, coalesce(o.run_at, statement_timestamp()),
           {due_order_sql("coalesce(o.run_at, statement_timestamp())", "o.priority")},
           o.max_attempts, o.timeout_seconds, o.preset_id, o.request_id, 1,
           statement_timestamp(), statement_timestamp()
    FROM o JOIN judged j ON j.request = o.request AND j.verdict = 'made'
    RETURNING id
), logged AS (
    INSERT INTO job_events (job_id, seq, at, type, body)
    SELECT id, 1, statement_timestamp(), 'job.queued', {event_body_sql()} FROM made
), tagged AS (
    INSERT INTO job_tags (job_id, tag_id)
    SELECT l.job_id, l.tag_id FROM unnest($23::uuid[], $24::uuid[]) AS l(job_id, tag_id)
    JOIN made ON made.id = l.job_id
    JOIN tags t ON t.id = l.tag_id FOR KEY SHARE OF t
)
SELECT j.request, j.verdict, clock.moment, statement_timestamp() AS at FROM judged j CROSS JOIN clock
"""  # noqa: S608  (fragments of this code base)

_FIND_KEY: Final = """
SELECT answer, request = $3::jsonb AS is_same FROM idempotency_keys WHERE owner_id = $1 AND key = $2
"""

_INSERT_TAGS: Final = insert_tags_sql("$1", "$2", "$3")


class SubmitRepository:
    """New jobs, the keys of submissions, and the tags that new jobs get."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, submissions: Sequence[Submission]) -> list[StoreResult]:
        """Store each submission whole or not at all; a key may stand here only once."""
        rows = await self._database.fetch(_STORE, *_columns(submissions))
        stored = {row["request"]: StoreResult(row["verdict"], row["at"], row["moment"]) for row in rows}
        return [stored[place] for place in range(len(submissions))]

    async def find_key(self, owner_id: UUID, key: str, request: str) -> tuple[bytes | None, bool] | None:
        """The stored answer, and whether it answered the same request (compared as JSON)."""
        rows = await self._database.fetch(_FIND_KEY, owner_id, key, request)
        return (rows[0]["answer"], rows[0]["is_same"]) if rows else None

    async def delete_expired_keys(self) -> None:
        """Delete the idempotency keys that are older than 24 hours."""
        await self._database.fetch(
            "DELETE FROM idempotency_keys WHERE created_at < statement_timestamp() - interval '24 hours'"
        )

    async def has_preset(self, preset_id: UUID) -> bool:
        return bool(await self._database.fetch("SELECT 1 FROM presets WHERE id = $1", preset_id))

    async def tag_ids(self, owner_id: UUID, names: set[str]) -> dict[str, UUID]:
        """The ids of these tags; those that are new are made."""
        ordered = sorted(names)
        await self._database.fetch(_INSERT_TAGS, owner_id, [uuid7() for _ in ordered], ordered)
        rows = await self._database.fetch(
            "SELECT name, id FROM tags WHERE owner_id = $1 AND name = ANY($2::text[])", owner_id, ordered
        )
        return {row["name"]: row["id"] for row in rows}


def _columns(submissions: Sequence[Submission]) -> list[Any]:
    jobs: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    links: list[tuple[Any, ...]] = []
    presets: set[UUID] = set()
    for place, submission in enumerate(submissions):
        for job in submission.jobs:
            order, pipeline = job.order, job.pipeline
            jobs.append(
                (
                    place,
                    job.id,
                    submission.owner_id,
                    pipeline.name,
                    pipeline.version,
                    pipeline.is_newest,
                    pipeline.updated_at,
                    job.params,
                    job.meta,
                    order.queue,
                    order.priority,
                    order.run_at,
                    order.max_attempts,
                    order.timeout_seconds,
                    order.preset_id,
                    submission.request_id,
                )
            )
            if order.preset_id is not None:
                presets.add(order.preset_id)
            links += [(job.id, tag_id) for tag_id in job.tag_ids]
        if submission.key is not None:
            key = submission.key
            keys.append((place, submission.owner_id, key.name, key.request, submission.answer))
    columns: list[Any] = []
    for rows, width in ((jobs, 16), (keys, 5)):
        columns += _turned(rows, width)
    return [*columns, NOT_YET_TEXT, *_turned(links, 2), list(presets)]


def _turned(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
