"""The table of a job's history. No ORM relation leads here: it is written and read by plain statements."""

from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import CheckConstraint, Column, Integer, String, Table, Uuid
from sqlalchemy.dialects.postgresql import JSON

from headrace.domain.base import METADATA

# Partitioned by the time inside the UUIDv7 of the job, so that old history goes by dropping a table. The body
# is JSON, not JSONB: every transport shows the very bytes that were written. Rows go with their job by a
# trigger: a foreign key would check each one that is written.
JOB_EVENTS = Table(
    "job_events",
    METADATA,
    Column("job_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", DateTimeUTC(timezone=True), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", JSON, nullable=False),
    CheckConstraint("seq > 0", name="seq_from_1"),
    postgresql_partition_by="RANGE (job_id)",
)
