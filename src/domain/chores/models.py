"""Tables of the outcomes of chores, the periodic work that keeps the database in order."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column


class ChoreOutcome(DefaultBase):
    """The last success of one chore in any worker.

    *failed_at* and *error* are written by workers of the previous release; *error* is set while their newest
    outcome is a failure. *position*: how far a chore has come that goes through something large in parts.

    *next_run_at*: when a chore that one worker runs for all is due again. *found*, *found_bytes*,
    *found_oldest*: what the last run has found where the database cannot look.
    """

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    succeeded_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    failed_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    error: Mapped[str | None] = mapped_column(Text, default=None)
    position: Mapped[str | None] = mapped_column(String(64), default=None)
    next_run_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    found: Mapped[int | None] = mapped_column(BigInteger, default=None)
    found_bytes: Mapped[int | None] = mapped_column(BigInteger, default=None)
    found_oldest: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class ChoreFailure(DefaultBase):
    """A chore that fails in one worker, until it succeeds there. The row counts while the worker is alive."""

    __tablename__ = "chore_failures"

    worker_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    failed_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    error: Mapped[str] = mapped_column(Text)
