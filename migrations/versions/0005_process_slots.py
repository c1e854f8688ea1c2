"""Whether the next step of a job runs in a process, and an index of due jobs by that

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


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("needs_process", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index(
        "ix_jobs_due", "jobs", ["queue", "needs_process", "due_order"], postgresql_where=sa.text(_QUEUED)
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index("ix_jobs_due", "jobs", ["queue", "due_order"], postgresql_where=sa.text(_QUEUED))
    op.drop_column("jobs", "needs_process")
