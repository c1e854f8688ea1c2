"""One page of a list, in a stable order, and how many match in all: one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from headrace.domain.base import Session

T = TypeVar("T")

SortColumns = Mapping[str, InstrumentedAttribute[Any]]


def substring_pattern(text: str) -> str:
    r"""A pattern for `ILIKE ... ESCAPE '\'` that finds *text* itself, whatever characters it has."""
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
    """The rows of the page, each with the total behind what was selected."""
    count = select(func.count()).select_from(matching.subquery())
    page = matching.add_columns(count.scalar_subquery()).order_by(*order).limit(limit).offset(offset)
    result = await session.execute(page.options(*options).execution_options(populate_existing=True))
    rows = result.all()
    if rows:
        return rows, rows[0][-1]
    return rows, 0 if offset == 0 else (await session.execute(count)).scalar_one()


async def fetch_objects(session: Session, matching: Select[tuple[T]], **page: Any) -> tuple[list[T], int]:
    """The objects of the page, and how many match in all; *page* as for `fetch_page`."""
    rows, total = await fetch_page(session, matching, **page)
    return [row[0] for row in rows], total


def sort_order(
    columns: SortColumns, order_by: str, tie_breaker: InstrumentedAttribute[Any]
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """By the column that *order_by* names, downwards where a `-` stands before it; nulls come last.

    *tie_breaker* orders rows that are equal in that column.
    """
    column = columns[order_by.removeprefix("-")]
    is_down = order_by.startswith("-")
    first = column.desc() if is_down else column.asc()
    # An index serves only the order that it was made in, so nothing is said of nulls where there are none.
    if column.property.columns[0].nullable:
        first = first.nulls_last()
    return first, tie_breaker.desc() if is_down else tie_breaker.asc()
