"""The objects that a caller may read and change. Every query of the API carries this condition."""

from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ColumnElement, false


class Reach(Struct, frozen=True):
    """*owner_id* None: the objects of all users. *job_id*: only that job and its objects."""

    owner_id: UUID | None
    job_id: UUID | None = None

    def within(self, owner: Any, job: Any = None) -> list[ColumnElement[bool]]:
        """Return the conditions on a table's owner column and, if it has one, on its job column."""
        conditions: list[ColumnElement[bool]] = []
        if self.owner_id is not None:
            conditions.append(owner == self.owner_id)
        if self.job_id is not None:
            conditions.append(false() if job is None else job == self.job_id)
        return conditions
