"""The base of all tables: metadata, the database's clock, and changes of JSON columns."""

from datetime import datetime
from typing import Any

import msgspec
from advanced_alchemy.base import orm_registry
from sqlalchemy import MetaData, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

from headrace.domain.json_decoding import decode_stored

Session = AsyncSession | async_scoped_session[AsyncSession]

METADATA: MetaData = orm_registry.metadata

# The database's clock decides what is leased and what is due. It is not clock_timestamp(), which is volatile
# and so cannot be used with an index.
DATABASE_NOW = func.statement_timestamp()


async def database_now(session: Session) -> datetime:
    """Return the database's time, to record it."""
    now: datetime = (await session.execute(select(DATABASE_NOW))).scalar_one()
    return now


def set_json(obj: object, field: str, value: Any) -> None:
    """Set a JSON column, unless its text is that of *value* already."""
    old = getattr(obj, field)
    if not isinstance(old, msgspec.Raw) or bytes(old) != msgspec.json.encode(value):
        setattr(obj, field, value)


def merge_json(obj: object, field: str, patch: dict[str, Any]) -> None:
    """Merge *patch* into the JSON object in *field*, as RFC 7396 does: None removes a key."""
    set_json(obj, field, _merged(decode_stored(getattr(obj, field)) or {}, patch))


def _merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in patch.items():
        nested = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(nested if isinstance(nested, dict) else {}, value)
        else:
            merged[key] = value
    return merged
