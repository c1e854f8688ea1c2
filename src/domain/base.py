"""What the tables of every concept share."""

from datetime import datetime
from typing import Any

from advanced_alchemy.base import orm_registry
from sqlalchemy import MetaData, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.ext.mutable import MutableDict

Session = AsyncSession | async_scoped_session[AsyncSession]

METADATA: MetaData = orm_registry.metadata

# Whatever decides a lease or what is due reads the database's clock. Not clock_timestamp(): it is volatile,
# so no index can be used with it.
DATABASE_NOW = func.statement_timestamp()


async def database_now(session: Session) -> datetime:
    """The database's time, where it is only recorded."""
    moment: datetime = (await session.execute(select(DATABASE_NOW))).scalar_one()
    return moment


def tracked_json() -> Any:
    """A JSONB object whose top-level keys are tracked; for nested ones use `merge_json`."""
    return MutableDict.as_mutable(JSONB())


def merge_json(obj: object, field: str, patch: dict[str, Any]) -> None:
    """Lay *patch* over the JSON object in *field*, nested objects included; a value of None removes its key.

    The attribute is always assigned anew, so the change is written however deep it is (RFC 7396).
    """
    setattr(obj, field, _merged(getattr(obj, field) or {}, patch))


def _merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in patch.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged
