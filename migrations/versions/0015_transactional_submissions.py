"""Functions with which other programs submit jobs inside their own transactions

`submit` and `submit_many` store jobs as `POST /jobs` and `POST /jobs/batch` do; `pipeline_schema` returns the
schema of a pipeline's parameters. They run with the rights of the role that migrates, and nobody may execute
them until that is granted. What such a transaction holds until it ends is in tables that no request of the
API waits for: see `docs/decisions/0051-jobs-in-the-callers-transaction.md`.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
works_with = "0010"

_SIGNATURES = (
    "submit(text, jsonb, jsonb)",
    "submit_many(jsonb, jsonb)",
    "pipeline_schema(text, integer)",
    "store_submission(text, jsonb, jsonb)",
    "refuse_submission(integer, text, text)",
    "finish_submission()",
)
_DEFINER = "SECURITY DEFINER SET search_path = @schema@, pg_temp"

_SUBMIT = f"""
CREATE FUNCTION submit(pipeline text, params jsonb, options jsonb DEFAULT '{{}}') RETURNS uuid
LANGUAGE plpgsql {_DEFINER} SET lock_timeout = '1s' AS $$
BEGIN
    IF jsonb_typeof(options) IS DISTINCT FROM 'object' OR options ?| ARRAY['pipeline', 'params'] THEN
        PERFORM refuse_submission(422, 'validation_failed', '$: an object without pipeline and params');
    END IF;
    RETURN (store_submission(
        'submit',
        pg_catalog.jsonb_build_array(
            options - ARRAY['owner', 'idempotency_key']
            || pg_catalog.jsonb_build_object('pipeline', pipeline, 'params', params)
        ),
        pg_catalog.jsonb_build_object(
            'owner', options -> 'owner', 'idempotency_key', options -> 'idempotency_key'
        )
    ))[1];
END $$
"""
_SUBMIT_MANY = f"""
CREATE FUNCTION submit_many(jobs jsonb, options jsonb DEFAULT '{{}}') RETURNS SETOF uuid
LANGUAGE plpgsql {_DEFINER} SET lock_timeout = '1s' AS $$
BEGIN
    RETURN QUERY SELECT unnest(store_submission('submit_many', jobs, options));
END $$
"""
_SCHEMA = f"""
CREATE FUNCTION pipeline_schema(pipeline text, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE {_DEFINER} AS $$
    SELECT pg_catalog.jsonb_build_object('version', p.version, 'params_schema', p.params_schema)
    FROM pipelines p
    WHERE p.name = $1 AND ($2 IS NULL OR p.version = $2) AND p.removed_at IS NULL
    ORDER BY p.version DESC LIMIT 1
$$
"""  # noqa: S608  (fragments of this file)
# The last three digits of the SQLSTATE are the status of the API's answer, the detail is its code.
_REFUSE = """
CREATE FUNCTION refuse_submission(status integer, code text, message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'JH' || status, MESSAGE = message, DETAIL = code;
END $$
"""

# In a CASE, a cast is evaluated only if the checks before it have passed. `.**{63}` selects the values 63
# levels below the top.
_FAULT = r"""
CASE
    WHEN job - ARRAY['pipeline', 'params', 'version', 'run_at', 'priority', 'queue', 'max_attempts',
                     'timeout_seconds', 'tags', 'meta'] <> '{}'
        THEN ARRAY['validation_failed', '', 'an unknown field']
    WHEN pipeline IS NULL OR jsonb_typeof(pipeline) <> 'string'
        THEN ARRAY['validation_failed', '.pipeline', 'the name of a pipeline']
    WHEN version::text !~ '^[1-9][0-9]{0,9}$' THEN ARRAY['validation_failed', '.version', 'an integer from 1']
    WHEN version::bigint > 2147483647 THEN ARRAY['validation_failed', '.version', 'at most 2147483647']
    WHEN priority::text !~ '^[0-9]$' THEN ARRAY['validation_failed', '.priority', 'an integer from 0 to 9']
    WHEN queue::text !~ '^"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"$'
        THEN ARRAY['validation_failed', '.queue', '1 to 64 letters, digits, and later also _ . -']
    WHEN max_attempts::text !~ '^([1-9][0-9]{0,2}|1000)$'
        THEN ARRAY['validation_failed', '.max_attempts', 'an integer from 1 to 1000']
    WHEN jsonb_typeof(timeout_seconds) <> 'number'
        THEN ARRAY['validation_failed', '.timeout_seconds', 'a number']
    WHEN timeout_seconds::numeric <= 0 OR timeout_seconds::numeric > 31536000
        THEN ARRAY['validation_failed', '.timeout_seconds', 'more than 0, at most 31536000']
    WHEN run_at::text !~ ('^"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}([.]\d{1,9})?([Zz]|[+-]\d{2}:?\d{2})"$')
        THEN ARRAY['validation_failed', '.run_at', 'a time with its offset, like 2026-11-21T10:00:00Z']
    WHEN (run_at #>> '{}')::timestamptz
         NOT BETWEEN '2000-01-01T00:00:00Z'::timestamptz AND '2200-01-01T00:00:00Z'::timestamptz
        THEN ARRAY['validation_failed', '.run_at', 'between the years 2000 and 2200']
    WHEN jsonb_typeof(params) <> 'object' THEN ARRAY['validation_failed', '.params', 'a JSON object']
    WHEN jsonb_typeof(meta) <> 'object' THEN ARRAY['validation_failed', '.meta', 'a JSON object']
    WHEN octet_length(params::text) > 262144 THEN ARRAY['value_too_large', '.params', 'at most 262144 bytes']
    WHEN octet_length(meta::text) > 262144 THEN ARRAY['value_too_large', '.meta', 'at most 262144 bytes']
    WHEN octet_length(params::text) > 126
         AND params @? 'strict $.**{63} ? (@.type() == "object" || @.type() == "array")'
        THEN ARRAY['nested_too_deep', '.params', 'at most 63 levels deep']
    WHEN octet_length(meta::text) > 126
         AND meta @? 'strict $.**{63} ? (@.type() == "object" || @.type() == "array")'
        THEN ARRAY['nested_too_deep', '.meta', 'at most 63 levels deep']
    WHEN tags IS NULL THEN NULL
    WHEN jsonb_typeof(tags) <> 'array' THEN ARRAY['validation_failed', '.tags', 'an array of texts']
    WHEN jsonb_array_length(tags) > 50 THEN ARRAY['validation_failed', '.tags', 'at most 50']
    WHEN EXISTS (
        SELECT FROM jsonb_array_elements(tags) AS t(tag)
        WHERE jsonb_typeof(tag) <> 'string' OR length(tag #>> '{}') > 64
           OR tag #>> '{}' !~ '^\S([^\n]*\S)?$'
    ) THEN ARRAY['validation_failed', '.tags', 'each a line of 1 to 64 characters, without spaces around it']
END
"""

_STORE = f"""
CREATE FUNCTION store_submission(call text, jobs jsonb, terms jsonb) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    owner uuid;
    owner_name CONSTANT text = terms ->> 'owner';
    new_key CONSTANT text = terms ->> 'idempotency_key';
    digest bytea;
    ids uuid[];
    earlier record;
    quota record;
    unfinished record;
    stored record;
    new_tags integer;
BEGIN
    IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' OR jsonb_array_length(jobs) NOT BETWEEN 1 AND 1000
       OR jobs @? 'strict $[*] ? (@.type() != "object")' THEN
        PERFORM refuse_submission(422, 'validation_failed', '$.jobs: an array of 1 to 1000 objects');
    END IF;
    IF jsonb_typeof(terms) IS DISTINCT FROM 'object'
       OR terms - ARRAY['owner', 'idempotency_key'] <> '{{}}'
       OR jsonb_typeof(terms -> 'owner') NOT IN ('string', 'null')
       OR jsonb_typeof(terms -> 'idempotency_key') NOT IN ('string', 'null')
       OR length(new_key) NOT BETWEEN 1 AND 128 THEN
        PERFORM refuse_submission(422, 'validation_failed',
            '$: the options are owner, and idempotency_key with 1 to 128 characters');
    END IF;

    -- Ids come first: anybody may choose a name that looks like the id of somebody else.
    IF owner_name ~ '^[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}$' THEN
        SELECT u.id INTO owner FROM users u WHERE u.id = owner_name::uuid;
    ELSIF owner_name IS NOT NULL THEN
        SELECT u.id INTO owner FROM users u WHERE u.username = owner_name;
    ELSE
        -- The local user, not one who signs in with that name.
        SELECT u.id INTO owner FROM users u
        WHERE u.username = 'dev' AND NOT EXISTS (SELECT FROM identities i WHERE i.user_id = u.id);
    END IF;
    IF owner IS NULL AND owner_name IS NULL AND NOT EXISTS (SELECT FROM users) THEN
        -- The local user, whom the API creates at its first request.
        INSERT INTO users (id, username, is_admin, created_at, updated_at)
        VALUES (gen_random_uuid(), 'dev', false, statement_timestamp(), statement_timestamp())
        RETURNING users.id INTO owner;
    ELSIF owner IS NULL THEN
        PERFORM refuse_submission(404, 'user_not_found',
            CASE WHEN owner_name IS NULL THEN '$.owner: name the jobs'' user'
                 ELSE pg_catalog.format('$.owner: there is no user %L', owner_name) END);
    END IF;

    -- Ids of version 7, a microsecond apart, so that their order is that of the jobs.
    SELECT array_agg((
        lpad(to_hex(ticks.us / 1000), 12, '0') || to_hex(28672 + ticks.us % 1000 * 4096 / 1000)
        || substr(gen_random_uuid()::text, 20)
    )::uuid ORDER BY ticks.us) INTO ids
    FROM (
        SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint + n AS us
        FROM generate_series(1, jsonb_array_length(jobs)) AS n
    ) ticks;

    IF new_key IS NOT NULL THEN
        digest := sha256(convert_to(call || ' ' || jobs::text, 'UTF8'));
        INSERT INTO transactional_keys AS k (owner_id, key, request_digest, job_ids, created_at)
        VALUES (owner, new_key, digest, ids, statement_timestamp())
        ON CONFLICT (owner_id, key) DO UPDATE SET request_digest = excluded.request_digest,
            job_ids = excluded.job_ids, created_at = excluded.created_at
        WHERE k.created_at < statement_timestamp() - interval '24 hours';
        IF NOT FOUND THEN
            SELECT k.request_digest, k.job_ids INTO earlier FROM transactional_keys k
            WHERE k.owner_id = owner AND k.key = new_key;
            IF earlier.request_digest IS DISTINCT FROM digest THEN
                PERFORM refuse_submission(409, 'idempotency_conflict',
                    pg_catalog.format('the idempotency key %L was used with another submission', new_key));
            ELSIF NOT EXISTS (SELECT FROM jobs j WHERE j.id = ANY(earlier.job_ids)) THEN
                PERFORM refuse_submission(410, 'job_deleted', 'the jobs of this key were deleted');
            END IF;
            RETURN earlier.job_ids;
        END IF;
    END IF;

    SELECT q.queued_jobs, q.running_jobs INTO quota FROM job_quotas q
    WHERE q.queued_jobs > 0 OR q.running_jobs > 0;
    IF FOUND THEN
        SELECT count(*) FILTER (WHERE j.state = 'queued') AS queued, count(*) AS total INTO unfinished
        FROM jobs j WHERE j.owner_id = owner AND j.state IN ('queued', 'running');
        IF quota.queued_jobs > 0 AND unfinished.queued + cardinality(ids) > quota.queued_jobs THEN
            PERFORM refuse_submission(429, 'quota_exceeded', pg_catalog.format(
                'a user has at most %s jobs queued; %s are in use', quota.queued_jobs, unfinished.queued));
        ELSIF quota.running_jobs > 0 AND unfinished.total + cardinality(ids) > quota.running_jobs THEN
            PERFORM refuse_submission(429, 'quota_exceeded', pg_catalog.format(
                'a user has at most %s jobs queued or running; %s are in use',
                quota.running_jobs, unfinished.total));
        END IF;
    END IF;

    WITH specs AS MATERIALIZED (
        SELECT e.*, e.pipeline #>> '{{}}' AS name, {_FAULT} AS fault
        FROM ROWS FROM (
            jsonb_to_recordset(jobs) AS (
                pipeline jsonb, params jsonb, version jsonb, run_at jsonb, priority jsonb, queue jsonb,
                max_attempts jsonb, timeout_seconds jsonb, tags jsonb, meta jsonb),
            jsonb_array_elements(jobs)
        ) WITH ORDINALITY AS e(pipeline, params, version, run_at, priority, queue, max_attempts,
                               timeout_seconds, tags, meta, job, n)
    ), wishes AS (
        SELECT s.*, CASE WHEN s.fault IS NULL THEN coalesce(s.version::integer, 0) END AS wish FROM specs s
    ), served AS MATERIALIZED (
        SELECT named.*, p.version AS served_version, p.needs_process
        FROM (SELECT DISTINCT w.name, w.wish FROM wishes w WHERE w.fault IS NULL) named
        CROSS JOIN LATERAL (
            SELECT v.version, v.graph <> '[]' AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(v.graph) AS step
                WHERE step -> 'after' = '[]' AND step ->> 'runs_in' <> 'process'
            ) AS needs_process
            FROM pipelines v
            WHERE v.name = named.name AND named.wish IN (0, v.version) AND v.removed_at IS NULL
            ORDER BY v.version DESC LIMIT 1
        ) p
    ), resolved AS MATERIALIZED (
        SELECT w.*, p.served_version, p.needs_process FROM wishes w
        LEFT JOIN served p ON p.name = w.name AND p.wish = w.wish
    ), inserted AS (
        INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,
                          due_order, max_attempts, timeout_seconds, needs_process, event_seq, created_at,
                          updated_at)
        SELECT ids[r.n], owner, r.name, r.served_version, 'queued', coalesce(r.params::text, '{{}}')::json,
               coalesce(r.meta::text, '{{}}')::json, coalesce(r.queue #>> '{{}}', 'default'), t.priority,
               t.run_at, greatest(t.run_at, statement_timestamp()) - t.priority * interval '60 seconds',
               r.max_attempts::integer, r.timeout_seconds::float8, r.needs_process, 1, statement_timestamp(),
               statement_timestamp()
        FROM resolved r CROSS JOIN LATERAL (
            SELECT coalesce((r.run_at #>> '{{}}')::timestamptz, statement_timestamp()) AS run_at,
                   coalesce(r.priority::smallint, 5::smallint) AS priority
        ) t
        WHERE r.served_version IS NOT NULL
        RETURNING jobs.id, jobs.queue, jobs.run_at
    ), logged AS (
        INSERT INTO job_changes (job_id, seq, at, type, body)
        SELECT i.id, 1, statement_timestamp(), 'job.queued', '{{}}' FROM inserted i
    ), refused AS (
        SELECT r.n, coalesce(r.fault, ARRAY[
            CASE WHEN r.name ~ '^[a-z][a-z0-9_]{{0,63}}$' THEN 'pipeline_unknown'
                 ELSE 'validation_failed' END,
            CASE WHEN r.version IS NULL THEN '.pipeline' ELSE '.version' END,
            pg_catalog.format('there is no pipeline %L', r.name)
            || coalesce(' version ' || r.version::text, '')
        ]) AS fault
        FROM resolved r WHERE r.served_version IS NULL ORDER BY r.n LIMIT 1
    ), links AS (
        SELECT ids[s.n] AS job_id, t.name
        FROM specs s CROSS JOIN LATERAL jsonb_array_elements_text(s.tags) AS t(name)
        WHERE s.fault IS NULL AND s.tags IS NOT NULL
    )
    SELECT (SELECT n FROM refused) AS place, (SELECT fault FROM refused) AS fault,
           (SELECT array_agg(DISTINCT i.queue) FROM inserted i WHERE i.run_at <= statement_timestamp())
               AS due_queues,
           (SELECT array_agg(job_id) FROM links) AS tagged_job_ids,
           (SELECT array_agg(name) FROM links) AS tag_names
    INTO stored;
    IF stored.fault IS NOT NULL THEN
        PERFORM refuse_submission(422, stored.fault[1], pg_catalog.concat(
            CASE call WHEN 'submit' THEN '$' ELSE pg_catalog.format('$.jobs[%s]', stored.place - 1) END,
            stored.fault[2], ': ', stored.fault[3]));
    END IF;
    IF stored.tag_names IS NOT NULL THEN
        SELECT count(*) INTO new_tags FROM (
            SELECT unnest(stored.tag_names) EXCEPT SELECT t.name FROM tags t WHERE t.owner_id = owner
        ) missing;
        IF new_tags > 0 AND new_tags + (SELECT count(*) FROM tags t WHERE t.owner_id = owner) > 10000 THEN
            PERFORM refuse_submission(409, 'too_many_tags', 'a user has at most 10000 tags');
        END IF;
    END IF;

    INSERT INTO transactional_submissions (id, owner_id, transaction_id, at, job_ids, tagged_job_ids,
                                           tag_names)
    VALUES (ids[1], owner, pg_current_xact_id()::text::bigint, clock_timestamp(), ids,
            stored.tagged_job_ids, stored.tag_names);
    IF coalesce(current_setting('headrace.notify', true), '') <> 'off' THEN
        PERFORM pg_notify('headrace_jobs', current_schema() || '.' || queue)
        FROM unnest(stored.due_queues) AS queue;
    END IF;
    RETURN ids;
END $$
"""  # noqa: S608  (fragments of this file)

# It runs at the commit. The first call of a transaction serves all its submissions, in the order of the tags.
_FINISH = f"""
CREATE FUNCTION finish_submission() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$
BEGIN
    IF EXISTS (SELECT FROM transactional_submissions WHERE id = NEW.id AND tag_names IS NOT NULL) THEN
        INSERT INTO tags (id, owner_id, name, created_at, updated_at)
        SELECT gen_random_uuid(), NEW.owner_id, missing.name, statement_timestamp(), statement_timestamp()
        FROM (
            SELECT unnest(s.tag_names) FROM transactional_submissions s
            WHERE s.owner_id = NEW.owner_id AND s.transaction_id = NEW.transaction_id
            EXCEPT SELECT t.name FROM tags t WHERE t.owner_id = NEW.owner_id
        ) AS missing(name)
        ORDER BY missing.name ON CONFLICT (owner_id, name) DO NOTHING;
        INSERT INTO job_tags (job_id, tag_id)
        SELECT l.job_id, t.id FROM transactional_submissions s
        CROSS JOIN LATERAL unnest(s.tagged_job_ids, s.tag_names) AS l(job_id, name)
        JOIN tags t ON t.owner_id = s.owner_id AND t.name = l.name
        WHERE s.owner_id = NEW.owner_id AND s.transaction_id = NEW.transaction_id
        ORDER BY t.name FOR KEY SHARE OF t ON CONFLICT DO NOTHING;
        UPDATE transactional_submissions SET tagged_job_ids = NULL, tag_names = NULL
        WHERE owner_id = NEW.owner_id AND transaction_id = NEW.transaction_id AND tag_names IS NOT NULL;
    END IF;
    UPDATE transactional_submissions SET at = clock_timestamp()
    WHERE id = NEW.id AND at < clock_timestamp() - interval '10 seconds';
    RETURN NULL;
END $$
"""  # noqa: S608  (fragments of this file)


def upgrade() -> None:
    op.create_table(
        "transactional_keys",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("job_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "key"),
    )
    op.create_index("ix_transactional_keys_created_at", "transactional_keys", ["created_at"])
    op.create_table(
        "transactional_submissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("tagged_job_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("tag_names", postgresql.ARRAY(sa.String(length=64)), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_transactional_submissions_owner", "transactional_submissions", ["owner_id", "transaction_id"]
    )
    op.create_table(
        "job_quotas",
        sa.Column("id", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("queued_jobs", sa.Integer(), nullable=False),
        sa.Column("running_jobs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="single"),
    )
    connection = op.get_bind()
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    for function in (_REFUSE, _STORE, _SUBMIT, _SUBMIT_MANY, _SCHEMA, _FINISH):
        connection.exec_driver_sql(function.replace("@schema@", schema))
    for signature in _SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute("""
        CREATE CONSTRAINT TRIGGER finish_submission AFTER INSERT ON transactional_submissions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION finish_submission()
    """)


def downgrade() -> None:
    for table in ("job_quotas", "transactional_submissions", "transactional_keys"):
        op.drop_table(table)
    for signature in _SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
