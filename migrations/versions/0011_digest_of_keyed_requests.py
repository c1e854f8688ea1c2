"""A digest of the request that an idempotency key stands for

The digest tells apart requests whose numbers jsonb takes for the same: 1 and 1.0. Processes of the previous
release go on comparing the request itself, which is still stored; a key of theirs has no digest.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
works_with = "0010"


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("request_digest", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "request_digest")
