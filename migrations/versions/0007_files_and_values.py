"""Every content of a file has a key of its own, and values are stored as the text that they were given

The previous release finds no content that has a key of its own. So a downgrade keeps these keys in a table,
from which the next upgrade takes them back. JSONB refuses some values that JSON keeps: a downgrade names the
first row with such a value and changes nothing.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


# JSONB sorts keys, drops the sign of zero and rewrites numbers; JSON keeps the text.
_VALUES = {
    "jobs": ("params", "meta", "result"),
    "step_runs": ("items", "output"),
    "presets": ("params",),
    "files": ("meta",),
}

_DERIVED_KEY = "encode(substring(sha256 FOR 16), 'hex')::uuid"


def upgrade() -> None:
    _store_values_as("json")
    op.add_column("files", sa.Column("blob_key", sa.Uuid()))
    # Until now the path of a file's bytes was made of their digest.
    op.execute(f"UPDATE files SET blob_key = {_DERIVED_KEY}")  # noqa: S608
    _restore_keys()
    op.alter_column("files", "blob_key", nullable=False)
    # Workers of the previous release, which go on until they are restarted, still make such paths.
    op.execute("""
        CREATE FUNCTION derive_blob_key() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' OR NEW.sha256 <> OLD.sha256 AND NEW.blob_key = OLD.blob_key THEN
                NEW.blob_key := encode(substring(NEW.sha256 FOR 16), 'hex')::uuid;
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER files_derive_blob_key BEFORE INSERT ON files
        FOR EACH ROW WHEN (NEW.blob_key IS NULL) EXECUTE FUNCTION derive_blob_key()
    """)
    op.execute("""
        CREATE TRIGGER files_derive_new_blob_key BEFORE UPDATE OF sha256 ON files
        FOR EACH ROW EXECUTE FUNCTION derive_blob_key()
    """)
    op.execute("""
        CREATE FUNCTION note_replaced_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO blob_removals (file_id, at)
            SELECT replaced.id, statement_timestamp() FROM replaced
            JOIN present ON present.id = replaced.id AND present.blob_key <> replaced.blob_key
            ON CONFLICT (file_id) DO UPDATE SET at = excluded.at;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER files_note_replaced_blobs AFTER UPDATE ON files
        REFERENCING OLD TABLE AS replaced NEW TABLE AS present
        FOR EACH STATEMENT EXECUTE FUNCTION note_replaced_blobs()
    """)


def _restore_keys() -> None:
    """Give files the keys that a downgrade has kept, unless they were saved again since then."""
    op.execute("CREATE TABLE IF NOT EXISTS kept_blob_keys (file_id uuid, sha256 bytea, blob_key uuid)")
    op.execute("""
        UPDATE files SET blob_key = kept.blob_key FROM kept_blob_keys kept
        WHERE files.id = kept.file_id AND files.sha256 = kept.sha256
    """)
    # drops: its keys are in files again
    op.execute("DROP TABLE kept_blob_keys")


def _keep_keys() -> None:
    """Keep the keys of files whose bytes the previous release cannot find, if there are any."""
    op.execute(f"""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM files WHERE blob_key <> {_DERIVED_KEY}) THEN
                CREATE TABLE kept_blob_keys AS
                SELECT id AS file_id, sha256, blob_key FROM files WHERE blob_key <> {_DERIVED_KEY};
            END IF;
        END $$
    """)  # noqa: S608


def _store_values_as(kind: str) -> None:
    for table, columns in _VALUES.items():
        changes = ", ".join(f"ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}" for column in columns)
        op.execute(f"ALTER TABLE {table} {changes}")


def _check_values() -> None:
    """Raise an error that names a row whose value JSONB cannot store, if there is one."""
    op.execute("""
        CREATE OR REPLACE FUNCTION pg_temp.is_jsonb(value text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM value::jsonb;
            RETURN true;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            RETURN false;
        END $$
    """)
    for table, columns in _VALUES.items():
        row_id = "job_id || ' ' || key" if table == "step_runs" else "id::text"
        for column in columns:
            query = f"SELECT {row_id} FROM {table} WHERE NOT pg_temp.is_jsonb({column}::text) LIMIT 1"  # noqa: S608
            refused = op.get_bind().scalar(sa.text(query))
            if refused is not None:
                raise CommandError(
                    f"the {column} of {table} {refused} has a text or number that JSONB cannot store, such as"
                    r" \u0000: change it or delete the row, then downgrade again"
                )


def downgrade() -> None:
    _check_values()
    _store_values_as("jsonb")
    for trigger in ("note_replaced_blobs", "derive_new_blob_key", "derive_blob_key"):
        op.execute(f"DROP TRIGGER files_{trigger} ON files")
    for function in ("note_replaced_blobs", "derive_blob_key"):
        op.execute(f"DROP FUNCTION {function}()")
    _keep_keys()
    op.drop_column("files", "blob_key")
