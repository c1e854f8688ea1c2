"""The table of worker processes that were recently alive, and what they serve."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column


class WorkerProcess(DefaultBase):
    """One worker process. It is alive while *last_seen_at* is recent: its heartbeat renews it."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(64)))
    pipelines: Mapped[list[str]] = mapped_column(ARRAY(String(80)))
    concurrency: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    last_seen_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)
