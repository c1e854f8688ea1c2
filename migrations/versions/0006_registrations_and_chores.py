"""What registered pipelines remember, the outcomes of chores, and presets that leave their jobs behind

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PRESET_KEY = "fk_jobs_preset_id_presets"


def upgrade() -> None:
    op.add_column("pipelines", sa.Column("types", postgresql.JSONB(), nullable=True))
    op.add_column(
        "pipelines",
        sa.Column(
            "superseded",
            postgresql.ARRAY(sa.String(length=64)),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.add_column(
        "pipelines",
        sa.Column(
            "confirmed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("statement_timestamp()"),
            nullable=False,
        ),
    )
    op.add_column("pipelines", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "chores",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("position", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    _set_preset_key("SET NULL")


def downgrade() -> None:
    _set_preset_key("CASCADE")
    op.drop_table("chores")
    for column in ("removed_at", "confirmed_at", "superseded", "types"):
        op.drop_column("pipelines", column)


def _set_preset_key(ondelete: str) -> None:
    op.drop_constraint(op.f(_PRESET_KEY), "jobs", type_="foreignkey")
    op.create_foreign_key(op.f(_PRESET_KEY), "jobs", "presets", ["preset_id"], ["id"], ondelete=ondelete)
