"""What submissions and uploads need to compare their owners' use with quotas

`jobs_beyond_quotas` locks the owner of each submission until its statement ends, and only then counts the
owner's jobs: in a function, each query sees what others have committed meanwhile. So two submissions at once
cannot both take the last place. Without quotas nothing calls it.

Removals get the owner and the size of the bytes that wait for them, because they still take space. Removals
that exist already count for nobody.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
works_with = "0010"


# With and without the owner and the size. The names are those of 0004 and 0007.
_NOTE_DELETED = """
CREATE OR REPLACE FUNCTION note_blob_removals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO blob_removals {columns}
    SELECT id, statement_timestamp(){values} FROM gone
    ON CONFLICT (file_id) DO UPDATE SET at = excluded.at{update};
    RETURN NULL;
END $$
"""
_NOTE_REPLACED = """
CREATE OR REPLACE FUNCTION note_replaced_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO blob_removals {columns}
    SELECT replaced.id, statement_timestamp(){values} FROM replaced
    JOIN present ON present.id = replaced.id AND present.blob_key <> replaced.blob_key
    ON CONFLICT (file_id) DO UPDATE SET at = excluded.at{update};
    RETURN NULL;
END $$
"""
_UPDATE = ", owner_id = excluded.owner_id, size = blob_removals.size + excluded.size"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION jobs_beyond_quotas(
            requests integer[], owners uuid[], counts integer[], keys text[],
            max_queued integer, max_running integer
        ) RETURNS TABLE (refused_request integer, refused_by text, used integer) LANGUAGE plpgsql AS $$
        DECLARE
            owner uuid;
            submission record;
            queued integer;
            running integer;
        BEGIN
            FOR owner IN SELECT DISTINCT o.id FROM unnest(owners) AS o(id) ORDER BY o.id LOOP
                PERFORM FROM users WHERE users.id = owner FOR NO KEY UPDATE;
                SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running')
                INTO queued, running
                FROM jobs WHERE jobs.owner_id = owner AND jobs.state IN ('queued', 'running');
                FOR submission IN
                    SELECT s.request, s.jobs, s.key
                    FROM unnest(requests, owners, counts, keys) AS s(request, owner_id, jobs, key)
                    WHERE s.owner_id = owner ORDER BY s.request
                LOOP
                    CONTINUE WHEN EXISTS (
                        SELECT FROM idempotency_keys i WHERE i.owner_id = owner AND i.key = submission.key
                        AND i.created_at >= statement_timestamp() - interval '24 hours'
                    );
                    IF max_queued > 0 AND queued + submission.jobs > max_queued THEN
                        refused_by := 'queued_jobs';
                        used := queued;
                    ELSIF max_running > 0 AND queued + running + submission.jobs > max_running THEN
                        refused_by := 'running_jobs';
                        used := queued + running;
                    ELSE
                        queued := queued + submission.jobs;
                        CONTINUE;
                    END IF;
                    refused_request := submission.request;
                    RETURN NEXT;
                END LOOP;
            END LOOP;
        END $$
    """)
    op.add_column("blob_removals", sa.Column("owner_id", sa.Uuid(), nullable=True))
    op.add_column("blob_removals", sa.Column("size", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_blob_removals_owner", "blob_removals", ["owner_id"], postgresql_include=["size"])
    columns = "(file_id, at, owner_id, size)"
    op.execute(_NOTE_DELETED.format(columns=columns, values=", owner_id, size", update=_UPDATE))
    values = ", replaced.owner_id, replaced.size"
    op.execute(_NOTE_REPLACED.format(columns=columns, values=values, update=_UPDATE))
    op.create_index("ix_files_owner_size", "files", ["owner_id"], postgresql_include=["size"])
    # drops: ix_files_owner_size takes its place
    op.drop_index("ix_files_owner_id", table_name="files")


def downgrade() -> None:
    op.create_index("ix_files_owner_id", "files", ["owner_id"])
    # drops: ix_files_owner_id takes its place
    op.drop_index("ix_files_owner_size", table_name="files")
    for function in (_NOTE_DELETED, _NOTE_REPLACED):
        op.execute(function.format(columns="(file_id, at)", values="", update=""))
    op.drop_index("ix_blob_removals_owner", table_name="blob_removals")
    op.drop_column("blob_removals", "size")
    op.drop_column("blob_removals", "owner_id")
    op.execute("DROP FUNCTION jobs_beyond_quotas")
