"""An index of queued jobs by what a worker can claim; due order counts from the submission on

A `run_at` before the submission gives a job no place in front of the others any more. The constraint also
accepts the order from `run_at` on, in which an API of the previous release goes on to insert jobs until it is
restarted.

The previous index is dropped, because each submission and each claim would have to write both. Until they are
restarted, workers of the previous release read and sort the queued jobs of their queue for each claim: with
many jobs in the queue, restart the workers soon after the migration.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_QUEUED = "state = 'queued'"
_VERSION_KEY = "((pipeline::text || '@') || version::text)"
_HEAD_START = "(priority * (run_at > created_at)::int)"
_BY_RUN_AT = "run_at - priority * interval '60 seconds'"
_BY_SUBMISSION = "greatest(run_at, created_at) - priority * interval '60 seconds'"


def upgrade() -> None:
    _order_by(_BY_SUBMISSION, f"due_order BETWEEN {_BY_RUN_AT} AND {_BY_SUBMISSION}")
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["queue", sa.text(_VERSION_KEY), "needs_process", sa.text(_HEAD_START), "due_order"],
        postgresql_where=sa.text(f"{_QUEUED} AND losses < 2"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_due", "jobs")
    op.create_index(
        "ix_jobs_due", "jobs", ["queue", "needs_process", "due_order"], postgresql_where=sa.text(_QUEUED)
    )
    _order_by(_BY_RUN_AT, f"due_order = {_BY_RUN_AT}")


def _order_by(due_order: str, check: str) -> None:
    """Change the rule of `due_order`, its check, and the rows where it makes a difference."""
    op.drop_constraint(op.f("ck_jobs_due_order"), "jobs", type_="check")
    op.execute(f"UPDATE jobs SET due_order = {due_order} WHERE run_at < created_at")  # noqa: S608
    op.create_check_constraint(op.f("ck_jobs_due_order"), "jobs", check)
