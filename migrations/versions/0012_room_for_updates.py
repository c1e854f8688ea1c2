"""Room in the pages of jobs and step runs for the next versions of their rows

Each job has at least three versions and each step run mostly two. A version in the page of the one before it
needs no entries in the indexes, if no indexed column has changed. Only new pages get the room.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
works_with = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE jobs SET (fillfactor = 50)")
    op.execute("ALTER TABLE step_runs SET (fillfactor = 60)")


def downgrade() -> None:
    op.execute("ALTER TABLE step_runs RESET (fillfactor)")
    op.execute("ALTER TABLE jobs RESET (fillfactor)")
