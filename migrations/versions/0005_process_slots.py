"""Whether the next step of a job runs in a process, how long its attempts ran, and indexes by these

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_QUEUED = "state = 'queued'"
_LATE = f"{_QUEUED} AND ran_seconds >= timeout_seconds"


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("needs_process", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("jobs", sa.Column("ran_seconds", sa.Float(), server_default=sa.text("0"), nullable=False))
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index(
        "ix_jobs_due", "jobs", ["queue", "needs_process", "due_order"], postgresql_where=sa.text(_QUEUED)
    )
    op.drop_index("ix_jobs_deadline", "jobs")
    op.create_index("ix_jobs_late", "jobs", ["id"], postgresql_where=sa.text(_LATE))


def downgrade() -> None:
    op.drop_index("ix_jobs_late", "jobs")
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["started_at"],
        postgresql_where=sa.text(f"{_QUEUED} AND timeout_seconds IS NOT NULL AND started_at IS NOT NULL"),
    )
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index("ix_jobs_due", "jobs", ["queue", "due_order"], postgresql_where=sa.text(_QUEUED))
    op.drop_column("jobs", "ran_seconds")
    op.drop_column("jobs", "needs_process")
