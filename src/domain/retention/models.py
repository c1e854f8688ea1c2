"""The table of what retention must know about an installation."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import CheckConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column


class Installation(DefaultBase):
    """The one row of an installation. *keeps_everything*: it was in use before there was retention."""

    __tablename__ = "installations"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    keeps_everything: Mapped[bool]
