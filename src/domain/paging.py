"""Reads a page of a list in a stable order, with the total, in one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from headrace.domain.base import Session

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
) -> tuple[Sequence[Row[Any]], int]:
    """Return the rows of the page, each with the total as its last column, and the total."""
    count = select(func.count()).select_from(matching.subquery())
    page = matching.add_columns(count.scalar_subquery()).order_by(*order).limit(limit).offset(offset)
    result = await session.execute(page.options(*options).execution_options(populate_existing=True))
    rows = result.all()
    if rows:
        return rows, rows[0][-1]
    return rows, 0 if offset == 0 else (await session.execute(count)).scalar_one()


async def fetch_objects(session: Session, matching: Select[tuple[T]], **page: Any) -> tuple[list[T], int]:
    """Return the objects of the page and the total; *page* as for `fetch_page`."""
    rows, total = await fetch_page(session, matching, **page)
    return [row[0] for row in rows], total


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
