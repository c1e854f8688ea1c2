"""The trace in which a job was submitted

The column is null for jobs that are not traced. Adding it does not rewrite the table.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
works_with = "0010"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(64)))


def downgrade() -> None:
    # drops: the traces of jobs, which only link to their submissions
    op.drop_column("jobs", "traceparent")
