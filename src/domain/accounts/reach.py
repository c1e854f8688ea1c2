"""Whose objects a caller may touch: the one condition that every query of the API carries."""

from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ColumnElement, false


class Reach(Struct, frozen=True):
    """*owner_id* None: everybody's. *job_id*: of that job alone."""

    owner_id: UUID | None
    job_id: UUID | None = None

    def within(self, owner: Any, job: Any = None) -> list[ColumnElement[bool]]:
        """The conditions on the column of the owner and, where there is one, on that of the job."""
        conditions: list[ColumnElement[bool]] = []
        if self.owner_id is not None:
            conditions.append(owner == self.owner_id)
        if self.job_id is not None:
            conditions.append(false() if job is None else job == self.job_id)
        return conditions
