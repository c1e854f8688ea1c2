"""The statements that fill the tables of `large_tables`, by numbers from a series."""

from typing import Final

USERS: Final = """
INSERT INTO users (id, username, is_admin, created_at, updated_at)
SELECT md5('user ' || n)::uuid, CASE n WHEN 1 THEN 'ada' WHEN 2 THEN 'bob' ELSE 'user' || n END, false,
    now(), now()
FROM generate_series(1, $1::int) n
"""
PRESETS: Final = """
INSERT INTO presets (id, owner_id, title, pipeline, params, created_at, updated_at)
SELECT md5('preset ' || n)::uuid, md5('user 1')::uuid, 'preset ' || n, 'noop', '{}', now(), now()
FROM generate_series(1, 2) n
"""
TAGS: Final = """
INSERT INTO tags (id, owner_id, name, created_at, updated_at)
SELECT md5('tag ' || n)::uuid, md5('user 1')::uuid, CASE n WHEN 1 THEN 'common' ELSE 'rare' END, now(), now()
FROM generate_series(1, 2) n
"""
# Jobs are submitted evenly over 30 days. The newest 2 % wait, half of them delayed; the very newest run.
JOBS: Final = """
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
    created_at, updated_at, started_at, finished_at, attempt, progress, event_seq, lease_owner,
    lease_expires_at, error, preset_id)
SELECT (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3)
        || '8' || substr(hash, 4, 15))::uuid,
    md5('user ' || owner)::uuid, pipeline, 1, state, json_build_object('count', n % 100, 'site', hash),
    json_build_object('ticket', n), queue, priority, run_at,
    greatest(run_at, created_at) - priority * interval '1 minute',
    created_at, created_at, CASE WHEN state NOT IN ('queued', 'cancelled') THEN created_at + wait END,
    CASE WHEN state NOT IN ('queued', 'running') THEN created_at + wait + took END,
    CASE WHEN state = 'queued' THEN 0 ELSE 1 END, CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END, 4,
    CASE WHEN state = 'running' THEN 'worker-' || n % 8 END,
    CASE WHEN state = 'running' THEN now() + interval '2 days' END,
    CASE WHEN state = 'failed' THEN '{"code": "bad_input", "message": "no such site"}'::jsonb END,
    CASE WHEN owner = 1 AND n % 3 = 0 THEN md5('preset 1')::uuid
         WHEN owner = 1 AND n % 500000 = 1 THEN md5('preset 2')::uuid END
FROM (
    SELECT n, md5(n::text) AS hash,
        now() - ($1::bigint - n) * (interval '30 days' / $1::bigint) AS created_at,
        CASE WHEN n % 10 < 3 THEN 1 WHEN n % 10 < 5 THEN 2 ELSE 3 + n / 10 % ($2::int - 2) END AS owner,
        CASE WHEN n % 100 < 70 THEN 'noop' WHEN n % 100 < 98 THEN 'ticks' ELSE 'flaky' END AS pipeline,
        CASE WHEN n > $1::bigint - $3::int THEN 'running' WHEN n > $1::bigint * 0.98 THEN 'queued'
             WHEN n % 33 = 0 THEN 'failed' WHEN n % 71 = 0 THEN 'cancelled' ELSE 'succeeded' END AS state,
        CASE WHEN n % 20 = 0 THEN 'mail' ELSE 'default' END AS queue, (n / 7 % 10)::smallint AS priority,
        n % 500 * interval '4 ms' AS wait, n % 900 * interval '9 ms' AS took
    FROM generate_series($4::bigint, $5::bigint) n
) job CROSS JOIN LATERAL (
    SELECT CASE WHEN state = 'queued' AND n % 2 = 0 THEN now() + n % 1000 * interval '1 minute'
                ELSE created_at END AS run_at
) delay
"""
LINKS: Final = """
INSERT INTO job_tags (job_id, tag_id)
SELECT id, md5(CASE WHEN (meta ->> 'ticket')::bigint % 500000 = 1 THEN 'tag 2' ELSE 'tag 1' END)::uuid
FROM jobs
WHERE owner_id = md5('user 1')::uuid
  AND ((meta ->> 'ticket')::bigint % 4 = 0 OR (meta ->> 'ticket')::bigint % 500000 = 1)
"""
FILES: Final = """
INSERT INTO files (id, owner_id, name, media_type, size, sha256, blob_key, created_at, updated_at)
SELECT md5('file ' || n)::uuid, md5('user 1')::uuid, 'report-' || n || '.txt', 'text/plain', n % 9999,
    sha256(n::text::bytea), md5('blob ' || n)::uuid, now() - n * interval '1 second', now()
FROM generate_series(1, $1::bigint / 10) n
"""
WORKERS: Final = """
INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)
SELECT 'worker-' || n, ARRAY['default', 'mail'], ARRAY['noop@1', 'ticks@1', 'flaky@1'], 50, now(),
    now() + interval '2 days'
FROM generate_series(0, 7) n
"""
INDEXES: Final = """
SELECT i.relname AS name, pg_get_indexdef(i.oid) AS definition
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relname IN ('jobs', 'files', 'job_tags') AND NOT x.indisprimary AND NOT x.indisunique
"""
