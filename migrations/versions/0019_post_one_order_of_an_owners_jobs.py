"""An owner's jobs in the order of submission are merged from those in each state, without an index of all

That index had three entries for each job, one for each of its moves, and a tenth of the bytes that a job
writes to PostgreSQL's log. Processes of the previous release go on without it, but read all jobs of an owner
for a list without a state.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
works_with = "0010"


def upgrade() -> None:
    op.drop_index("ix_jobs_owner_newest", table_name="jobs")


def downgrade() -> None:
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    op.create_index("ix_jobs_owner_newest", "jobs", ["owner_id", *newest])
