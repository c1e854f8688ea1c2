"""The failures of chores by worker, so that the success of one worker does not hide the failure of another

Workers of the previous release go on to store failures in `chores` until they are restarted.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chore_failures",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", "name", name=op.f("pk_chore_failures")),
    )


def downgrade() -> None:
    op.drop_table("chore_failures")
