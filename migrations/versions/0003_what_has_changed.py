"""Indexes to find the recently changed jobs of an owner

One index is for jobs that have ended, one for jobs that are queued again. Neither has a column that changes
while a job runs, so the updates of a running job can be HOT updates.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_jobs_owner_finished",
        "jobs",
        ["owner_id", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_owner_again",
        "jobs",
        ["owner_id"],
        postgresql_where=sa.text("state = 'queued' AND attempt > 0"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_owner_again", "jobs")
    op.drop_index("ix_jobs_owner_finished", "jobs")
