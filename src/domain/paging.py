"""Reads a page of a list in a stable order, with the total, in one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, SQLColumnExpression, Text, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, defer
from sqlalchemy.orm.attributes import set_committed_value

from headrace.domain.base import Session
from headrace.domain.omissions import MAX_LISTED_BYTES, MAX_REPEATED_BYTES, OMITTED

T = TypeVar("T")

SortColumns = Mapping[str, InstrumentedAttribute[Any]]


def substring_pattern(text: str) -> str:
    r"""Return a pattern for `ILIKE ... ESCAPE '\'` that finds *text* literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


async def fetch_page(
    session: Session,
    matching: Select[Any],
    *,
    order: Sequence[ColumnElement[Any]],
    limit: int,
    offset: int,
    options: Sequence[Any] = (),
    large: Sequence[InstrumentedAttribute[Any]] = (),
) -> tuple[Sequence[Row[Any]], int]:
    """Return the rows of the page, each with the total as its last column, and the total.

    Values of the JSON columns *large* are `OMITTED` if they are too large for a list, or follow many others.
    """
    count = select(func.count()).select_from(matching.subquery())
    page = matching.order_by(*order).limit(limit).offset(offset)
    if large:
        # The sizes are computed for the page only.
        model = matching.column_descriptions[0]["entity"]
        ids = page.with_only_columns(model.id).subquery()
        page = select(model).where(model.id.in_(ids.select())).order_by(*order)
        page = page.add_columns(*listed(large, order)).options(*map(defer, large))
    statement = page.add_columns(count.scalar_subquery()).options(*options)
    rows = (await session.execute(statement.execution_options(populate_existing=True))).all()
    for row in rows:
        shown = row[len(row) - 1 - 2 * len(large) : -1]
        for column, value, is_omitted in zip(large, shown[::2], shown[1::2], strict=True):
            set_committed_value(row[0], column.key, OMITTED if is_omitted else value)
    if rows:
        return rows, rows[0][-1]
    return rows, 0 if offset == 0 else (await session.execute(count)).scalar_one()


async def fetch_objects(session: Session, matching: Select[tuple[T]], **page: Any) -> tuple[list[T], int]:
    """Return the objects of the page and the total; *page* as for `fetch_page`."""
    rows, total = await fetch_page(session, matching, **page)
    return [row[0] for row in rows], total


def listed(columns: Sequence[SQLColumnExpression[Any]], order: Sequence[Any]) -> list[ColumnElement[Any]]:
    """Return each of the JSON *columns* as a list in this *order* shows it, and then whether it is left out.

    A value is left out, and null, if it is too large, or if it does not fit behind those before it.
    """
    sizes = [json_size(column) for column in columns]
    kept = [case((size <= MAX_REPEATED_BYTES, size), else_=0) for size in sizes]
    total = func.sum(sum(kept[1:], kept[0])).over(order_by=order, rows=(None, 0))
    pairs: list[ColumnElement[Any]] = []
    for column, size in zip(columns, sizes, strict=True):
        is_kept = (size == 0) | ((size <= MAX_REPEATED_BYTES) & (total <= MAX_LISTED_BYTES))
        pairs += [case((is_kept, column)), ~is_kept]
    return pairs


def json_size(column: SQLColumnExpression[Any]) -> ColumnElement[int]:
    """Return the bytes of a JSON column; 0 where it is null."""
    return func.coalesce(func.octet_length(cast(column, Text)), 0)


def sort_order(
    columns: SortColumns, order_by: str, tie_breaker: InstrumentedAttribute[Any]
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the order by the column that *order_by* names, descending after a `-`; nulls come last.

    *tie_breaker* orders the rows that are equal in that column.
    """
    column = columns[order_by.removeprefix("-")]
    is_descending = order_by.startswith("-")
    first = column.desc() if is_descending else column.asc()
    # NULLS LAST would prevent the use of an index that was created without it.
    if column.property.columns[0].nullable:
        first = first.nulls_last()
    return first, tie_breaker.desc() if is_descending else tie_breaker.asc()
