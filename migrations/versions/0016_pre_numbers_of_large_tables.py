"""What lists and numbers need on tables of millions of rows

An index of ended jobs by their end, for the statistics of all users: an end adds one entry, and nothing else
changes it. An index of files in the order of lists, of each owner and of all. Statistics about owner, state
and pipeline together, from which PostgreSQL estimates counts that are too large to be counted.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

from headrace.adapters.online_changes import build_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
works_with = "0010"


def upgrade() -> None:
    build_index("ix_jobs_finished", "jobs", "finished_at", where="finished_at IS NOT NULL")
    build_index("ix_files_newest", "files", "created_at DESC", "id DESC")
    build_index("ix_files_owner_newest", "files", "owner_id", "created_at DESC", "id DESC")
    op.execute("CREATE STATISTICS jobs_kinds (mcv) ON owner_id, state, pipeline FROM jobs")


def downgrade() -> None:
    op.execute("DROP STATISTICS jobs_kinds")
    op.drop_index("ix_files_owner_newest", table_name="files")
    op.drop_index("ix_files_newest", table_name="files")
    op.drop_index("ix_jobs_finished", table_name="jobs")
