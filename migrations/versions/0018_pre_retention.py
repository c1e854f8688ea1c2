"""What retention needs: pinned jobs, terms of pipelines, indexes of ended jobs, and settings of autovacuum

The index of jobs that may be pruned gets one entry for each job, at its end. An installation that is in use
already keeps everything that its settings do not name.

Revision ID: 0018
Revises: 0017
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from headrace.adapters.online_changes import add_columns, build_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
works_with = "0010"

# A fifth of a large table is millions of dead rows, and a worker of autovacuum that pauses does not keep up
# with thousands of jobs a second. A small table is not worth a vacuum for a few rows.
_HOT = (
    "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,"
    " autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 2000"
)
_HOT_TABLES = ("jobs", "step_runs", "job_tags", "idempotency_keys", "transactional_keys", "blob_removals")
_PARTITIONS = """
DO $$
DECLARE partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'job_changes'::regclass LOOP
        EXECUTE format('ALTER TABLE %s {change}', partition);
    END LOOP;
END $$
"""
# A new installation has no row in these.
_TABLES_IN_USE = ("jobs", "files", "audit_entries", "users")
_CHORE_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "next_run_at": sa.DateTime(timezone=True),
    "found": sa.BigInteger(),
    "found_bytes": sa.BigInteger(),
    "found_oldest": sa.DateTime(timezone=True),
}


def upgrade() -> None:
    add_columns("jobs", sa.Column("keep", sa.Boolean(), server_default="false", nullable=False))
    add_columns("pipelines", sa.Column("keep", postgresql.JSONB(none_as_null=True), nullable=True))
    add_columns("chores", *(sa.Column(name, kind, nullable=True) for name, kind in _CHORE_COLUMNS.items()))
    build_index(
        "ix_jobs_prunable",
        "jobs",
        *("pipeline", "version", "state", "finished_at"),
        where="finished_at IS NOT NULL AND NOT keep",
    )
    build_index("ix_jobs_pinned", "jobs", "finished_at", where="keep")
    op.create_table(
        "installations",
        sa.Column("id", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("keeps_everything", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="single"),
    )
    in_use = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in _TABLES_IN_USE)
    op.execute(f"INSERT INTO installations (keeps_everything) SELECT {in_use}")
    for table in _HOT_TABLES:
        op.execute(f"ALTER TABLE {table} SET ({_HOT})")
    op.execute(_PARTITIONS.format(change=f"SET ({_HOT})"))


def downgrade() -> None:
    names = ", ".join(setting.split(" = ")[0].strip() for setting in _HOT.split(","))
    op.execute(_PARTITIONS.format(change=f"RESET ({names})"))
    for table in _HOT_TABLES:
        op.execute(f"ALTER TABLE {table} RESET ({names})")
    op.drop_table("installations")
    for name in reversed(_CHORE_COLUMNS):
        op.drop_column("chores", name)
    op.drop_column("pipelines", "keep")
    op.drop_index("ix_jobs_pinned", "jobs")
    op.drop_index("ix_jobs_prunable", "jobs")
    op.drop_column("jobs", "keep")
