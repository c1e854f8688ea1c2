"""The table of the event log. It has no ORM model: plain statements write and read it."""

from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import CheckConstraint, Column, Integer, String, Table, Uuid
from sqlalchemy.dialects.postgresql import JSON

from headrace.domain.base import METADATA

# Partitioned by the time in the job's UUIDv7, so that old history can be dropped as a table. The body is
# JSON, not JSONB, so that every transport sends the bytes that were written. A trigger deletes the rows of a
# deleted job: a foreign key would check every insert.
#
# A row holds the events of one change. `seq`, `type` and `body` are those of the last one; `earlier` is a
# JSON array of `[type, body]` for those before it, if there are any. The view `job_events` has a row for each
# event.
JOB_CHANGES = Table(
    "job_changes",
    METADATA,
    Column("job_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", DateTimeUTC(timezone=True), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", JSON, nullable=False),
    Column("earlier", JSON, nullable=True),
    CheckConstraint("seq > 0", name="seq_from_1"),
    postgresql_partition_by="RANGE (job_id)",
)
