"""The cursors of lists: each names the last row of a page by the values that the list is sorted by. Pure."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Subquery, and_, or_, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from headrace.domain.errors import HeadraceError

MAX_CURSOR_LENGTH: Final = 2_000

_SCOPE_CHARS: Final = 12
_Int8 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class CursorInvalidError(HeadraceError):
    """The cursor is none, or belongs to a list with other filters, another order or another caller."""

    parameter: ClassVar[str] = "after"

    def __init__(self) -> None:
        super().__init__(
            "after is not a cursor of this list: send the `next` of its previous page, with the same filters"
            " and order"
        )


class SortColumn(Struct, frozen=True):
    """A column of an order. A column with `nulls_last` may be null."""

    column: ColumnElement[Any] | InstrumentedAttribute[Any]
    is_descending: bool = False
    nulls_last: bool = False

    @property
    def name(self) -> str:
        """The name of the column, and of the attribute of its rows."""
        return str(self.column.key)

    @property
    def ordered(self) -> ColumnElement[Any]:
        """The column as an element of ORDER BY."""
        ordered = self.column.desc() if self.is_descending else self.column.asc()
        return ordered.nulls_last() if self.nulls_last else ordered


Order = Sequence[SortColumn]
"""The columns that a list is sorted by, all in the same direction. The last one is unique."""

Position = Sequence[Any]
"""The values of a row in the columns of an `Order`."""


def newest_first(*columns: InstrumentedAttribute[Any]) -> Order:
    """Return the descending order by *columns*, none of which is ever null."""
    return [SortColumn(column, is_descending=True) for column in columns]


def order_on(rows: Subquery, order: Order) -> Order:
    """Return *order* by the columns of a subquery, which have the same names."""
    return [SortColumn(rows.c[column.name], column.is_descending, column.nulls_last) for column in order]


def encode_cursor(scope: str, position: Position) -> str:
    """Return the cursor behind a row. *scope* names the list with its filters, its order and its reach."""
    content = msgspec.json.encode([_digest(scope), *position])
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_cursor(scope: str, cursor: str, order: Order) -> Position:
    """Return the position that *cursor* names in a list with that *scope* and *order*.

    Raises:
        CursorInvalidError: it is no cursor, or one of another list.
    """
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, *values = msgspec.json.decode(content, type=list[Any])
        kinds = [_kind_of(column) for column in order]
        position = [msgspec.convert(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, RecursionError) as error:
        raise CursorInvalidError from error
    if digest != _digest(scope) or any("\0" in value for value in position if isinstance(value, str)):
        raise CursorInvalidError
    return position


def behind(order: Order, position: Position) -> ColumnElement[bool]:
    """Return the condition that a row comes after *position* in this *order*; nulls come last."""
    first, value = order[0], position[0]
    if first.nulls_last and value is None:
        return and_(first.column.is_(None), behind(order[1:], position[1:]))
    # PostgreSQL finds the first such row in an index by the comparison of rows, which has no nulls here.
    columns, values = tuple_(*(column.column for column in order)), tuple_(*position)
    later = columns < values if first.is_descending else columns > values
    return or_(later, first.column.is_(None)) if first.nulls_last else later


def at_or_behind(order: Order, position: Position) -> ColumnElement[bool]:
    """Return the condition that a row has *position* or comes after it, in an order without nulls."""
    columns, values = tuple_(*(column.column for column in order)), tuple_(*position)
    return columns <= values if order[0].is_descending else columns >= values


def _kind_of(column: SortColumn) -> Any:
    kind: Any = column.column.type.python_type
    kinds: dict[Any, Any] = {datetime: Annotated[datetime, Meta(tz=True)], int: _Int8, UUID: UUID, str: str}
    return kinds[kind] | None if column.nulls_last else kinds[kind]


def _digest(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:_SCOPE_CHARS]
