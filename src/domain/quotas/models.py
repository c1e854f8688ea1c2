"""The table of the quotas of jobs, for submissions that do not pass an API."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column


class JobQuota(DefaultBase):
    """The quotas of the API that has started last: a single row."""

    __tablename__ = "job_quotas"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    queued_jobs: Mapped[int]
    running_jobs: Mapped[int]
