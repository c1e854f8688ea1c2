"""Tables for identities, sessions, API keys, presets, the audit log and blobs to remove

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW_TABLES = (
    "blob_removals",
    "audit_entries",
    "preset_tags",
    "presets",
    "api_keys",
    "login_sessions",
    "login_attempts",
    "identities",
)

# The older schema requires different names for the files of a step, and users may have renamed files since. A
# name has at most 255 characters, an id 36.
_PART_NAMES = """
UPDATE files SET name = left(files.name, 218) || '-' || files.id
FROM (
    SELECT id, row_number() OVER (PARTITION BY job_id, step, name ORDER BY created_at, id) AS place
    FROM files WHERE job_id IS NOT NULL
) AS same
WHERE files.id = same.id AND same.place > 1
"""


def upgrade() -> None:
    op.create_index("ix_users_email", "users", [sa.text("lower(email)")])
    op.create_table(
        "identities",
        *_record(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("tokens", sa.LargeBinary(), nullable=True),
        _belongs("identities", "user_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_identities_provider")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])
    op.create_table(
        "login_attempts",
        sa.Column("state", sa.LargeBinary(length=32), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("return_to", sa.String(length=2000), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_login_attempts")),
    )
    op.create_index(op.f("ix_login_attempts_expires_at"), "login_attempts", ["expires_at"])
    op.create_table(
        "login_sessions",
        *_record(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        _belongs("login_sessions", "user_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_sessions")),
    )
    op.create_index(op.f("ix_login_sessions_user_id"), "login_sessions", ["user_id"])
    op.create_index(op.f("ix_login_sessions_expires_at"), "login_sessions", ["expires_at"])
    op.create_table(
        "api_keys",
        *_record(),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_api_keys_digest_length")),
        sa.CheckConstraint("cardinality(scopes) > 0", name=op.f("ck_api_keys_some_scope")),
        _belongs("api_keys", "owner_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_owner_id"), "api_keys", ["owner_id"])
    op.create_table(
        "presets",
        *_record(),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("pipeline", sa.String(length=64), nullable=False),
        sa.Column("params", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("length(title) > 0", name=op.f("ck_presets_title_not_empty")),
        _belongs("presets", "owner_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_presets")),
        sa.UniqueConstraint("owner_id", "title", name=op.f("uq_presets_owner_id")),
    )
    op.create_table(
        "preset_tags",
        sa.Column("preset_id", sa.Uuid(), nullable=False),
        sa.Column("tag_id", sa.Uuid(), nullable=False),
        _belongs("preset_tags", "preset_id", "presets"),
        _belongs("preset_tags", "tag_id", "tags"),
        sa.PrimaryKeyConstraint("preset_id", "tag_id", name=op.f("pk_preset_tags")),
    )
    op.create_index(op.f("ix_preset_tags_tag_id"), "preset_tags", ["tag_id"])
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_newest", "audit_entries", [sa.text("at DESC"), sa.text("id DESC")])
    op.create_table(
        "blob_removals",
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_blob_removals")),
    )
    op.execute("""
        CREATE FUNCTION note_blob_removals() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO blob_removals (file_id, at) SELECT id, statement_timestamp() FROM gone
            ON CONFLICT (file_id) DO UPDATE SET at = excluded.at;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER files_note_blob_removals AFTER DELETE ON files
        REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_blob_removals()
    """)
    # Users may rename the files of a step, and the id identifies a file already.
    op.drop_index("uq_files_job_id_step_name", "files")
    op.add_column("files", sa.Column("meta", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("jobs", sa.Column("preset_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("request_id", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("tokens_valid_after", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(
        op.f("fk_jobs_preset_id_presets"), "jobs", "presets", ["preset_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index(
        "ix_jobs_preset", "jobs", ["preset_id"], postgresql_where=sa.text("preset_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_preset", "jobs")
    op.drop_constraint(op.f("fk_jobs_preset_id_presets"), "jobs", type_="foreignkey")
    for column in ("preset_id", "request_id", "tokens_valid_after"):
        op.drop_column("jobs", column)
    op.drop_column("files", "meta")
    op.execute(_PART_NAMES)
    op.create_index(
        "uq_files_job_id_step_name",
        "files",
        ["job_id", "step", "name"],
        unique=True,
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )
    op.execute("DROP TRIGGER files_note_blob_removals ON files")
    op.execute("DROP FUNCTION note_blob_removals()")
    for table in _NEW_TABLES:
        op.drop_table(table)
    op.drop_index("ix_users_email", "users")


def _record() -> tuple[sa.Column, ...]:  # type: ignore[type-arg]
    return (
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def _belongs(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{parent}.id"], name=op.f(f"fk_{table}_{column}_{parent}"), ondelete="CASCADE"
    )
