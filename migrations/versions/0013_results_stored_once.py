"""Results that are stored once

A result of more than 64 KiB is no longer a copy of the output of its step: the job names the step. Processes
of the previous release store such a result twice, as before, and read it only where it is stored twice.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
works_with = "0010"

_STORE_TWICE = """
UPDATE jobs j SET result = coalesce(
    (SELECT r.output FROM step_runs r WHERE r.job_id = j.id AND r.key = j.result_step AND r.items IS NULL),
    (SELECT concat('[', string_agg(coalesce(r.output::text, 'null'), ',' ORDER BY r.index), ']')::json
     FROM step_runs r WHERE r.job_id = j.id AND r.name = j.result_step AND r.index IS NOT NULL)
) WHERE j.result_step IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("result_step", sa.String(64), nullable=True))


def downgrade() -> None:
    op.execute(_STORE_TWICE)
    # drops: the results are in `result` again
    op.drop_column("jobs", "result_step")
