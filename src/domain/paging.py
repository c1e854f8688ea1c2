"""Reads a page of a list in a stable order, with the total, in one statement.

The total is exact up to `MAX_COUNTED`. Beyond that it is PostgreSQL's estimate, so that a page of a list of
millions takes as long as one of thousands.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Executable,
    Row,
    Select,
    SQLColumnExpression,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, defer
from sqlalchemy.orm.attributes import set_committed_value

from headrace.domain.base import Session
from headrace.domain.cursors import Order, SortColumn, behind, decode_cursor, encode_cursor
from headrace.domain.errors import HeadraceError
from headrace.domain.omissions import MAX_LISTED_BYTES, MAX_REPEATED_BYTES, OMITTED
from headrace.domain.plan_estimates import rows_of_plan

T = TypeVar("T")
Item = TypeVar("Item")

SortColumns = Mapping[str, InstrumentedAttribute[Any]]

MAX_COUNTED: Final = 10_000
"""Up to so many rows a total is exact."""
MAX_OFFSET: Final = 10_000
_NOT_FILTERS: Final = ("limit", "offset", "after", "include", "found")


class OffsetTooLargeError(HeadraceError):
    """PostgreSQL would read all rows before the page."""

    parameter: ClassVar[str] = "offset"

    def __init__(self) -> None:
        super().__init__(
            f"offset is at most {MAX_OFFSET}: to go further, send the `next` of a page as after="
        )


class PageRequest(Struct, frozen=True, kw_only=True):
    """Which page of a list: the first rows after the *offset* from the beginning, or after a cursor."""

    limit: int = 100
    offset: int = 0
    after: str | None = None


class ListPage(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list. *next* is the cursor of the page behind it, None for the last one.

    *looked_back_to*: only the rows created since then were looked at; None: all were.
    """

    items: Sequence[T]
    total: int
    total_is_estimate: bool = False
    next: str | None = None
    looked_back_to: datetime | None = None

    def show(self, view: Callable[[T], Item]) -> "ListPage[Item]":
        """Return the page with each of its items as *view* shows it."""
        return ListPage(
            items=[view(item) for item in self.items],
            total=self.total,
            total_is_estimate=self.total_is_estimate,
            next=self.next,
            looked_back_to=self.looked_back_to,
        )


class Total(Struct, frozen=True):
    """How many rows match."""

    count: int
    is_estimate: bool


class _Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(explain: _Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(explain.statement, **options)}"


def substring_pattern(text: str) -> str:
    r"""Return a pattern for `ILIKE ... ESCAPE '\'` that finds *text* literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def check_offset(offset: int) -> None:
    """Check that a page is not too far from the beginning of its list.

    Raises:
        OffsetTooLargeError: it is.
    """
    if offset > MAX_OFFSET:
        raise OffsetTooLargeError


def scope_of(name: str, owner_id: UUID | None, filters: PageRequest) -> str:
    """Return the text that tells the cursors of this list from those of all others."""
    fields = {
        field: value for field, value in msgspec.structs.asdict(filters).items() if field not in _NOT_FILTERS
    }
    return msgspec.json.encode([name, owner_id, fields], order="deterministic").decode()


async def fetch_page(
    session: Session,
    matching: Select[Any],
    *,
    order: Order,
    page: PageRequest,
    scope: str,
    options: Sequence[Any] = (),
    large: Sequence[InstrumentedAttribute[Any]] = (),
) -> ListPage[Row[Any]]:
    """Return a page of *matching*, whose first entity is sorted by *order*.

    Values of the JSON columns *large* are `OMITTED` if they are too large for a list, or follow many others.

    Raises:
        CursorInvalidError: the cursor is none of a list with this *scope*.
        OffsetTooLargeError: the page is too far from the beginning of the list.
    """
    check_offset(page.offset)
    rows = matching
    if page.after is not None:
        rows = rows.where(behind(order, decode_cursor(scope, page.after, order)))
    statement = rows.order_by(*(column.ordered for column in order)).limit(page.limit + 1).offset(page.offset)
    if large:
        # The sizes are computed for the page only.
        model = matching.column_descriptions[0]["entity"]
        statement = select(model).where(
            model.id.in_(statement.with_only_columns(model.id).subquery().select())
        )
        statement = statement.order_by(*(column.ordered for column in order))
    found, total = await fetch_rows(
        session, statement, counted=matching, order=order, options=options, large=large
    )
    return page_of(found, total, order=order, limit=page.limit, scope=scope)


async def fetch_rows(
    session: Session,
    statement: Select[Any],
    *,
    counted: Select[Any],
    order: Order,
    options: Sequence[Any] = (),
    large: Sequence[InstrumentedAttribute[Any]] = (),
    estimated: Select[Any] | None = None,
    is_whole: bool = True,
) -> tuple[Sequence[Row[Any]], Total]:
    """Return the rows of *statement*, which are in this *order*, and how many rows *counted* has.

    If these are many, or not all (*is_whole* is false), the total is the estimate for *estimated*.
    """
    count = _bounded_count(counted)
    if large:
        statement = statement.add_columns(*listed(large, [column.ordered for column in order]))
        statement = statement.options(*map(defer, large))
    statement = statement.add_columns(count.scalar_subquery()).options(*options)
    rows = (await session.execute(statement.execution_options(populate_existing=True))).all()
    for row in rows:
        shown = row[len(row) - 1 - 2 * len(large) : -1]
        for column, value, is_omitted in zip(large, shown[::2], shown[1::2], strict=True):
            set_committed_value(row[0], column.key, OMITTED if is_omitted else value)
    exact = rows[0][-1] if rows else (await session.execute(count)).scalar_one()
    if is_whole and exact <= MAX_COUNTED:
        return rows, Total(exact, is_estimate=False)
    estimate = await estimate_rows(session, counted if estimated is None else estimated)
    return rows, Total(max(exact, estimate), is_estimate=True)


def page_of(rows: Sequence[T], total: Total, *, order: Order, limit: int, scope: str) -> ListPage[T]:
    """Return the first *limit* of the *rows*, with a cursor if there are more."""
    cursor = None
    if len(rows) > limit:
        last: Any = rows[limit - 1]
        entity = last[0] if isinstance(last, Row) else last
        cursor = encode_cursor(scope, [getattr(entity, column.name) for column in order])
    return ListPage(items=rows[:limit], total=total.count, total_is_estimate=total.is_estimate, next=cursor)


async def fetch_objects(session: Session, matching: Select[tuple[T]], **page: Any) -> ListPage[T]:
    """Return a page of objects; the arguments are those of `fetch_page`."""
    return (await fetch_page(session, matching, **page)).show(lambda row: row[0])


async def estimate_rows(session: Session, statement: Select[Any]) -> int:
    """Return how many rows PostgreSQL's planner expects, from its statistics."""
    return rows_of_plan((await session.execute(_Explain(statement))).scalar_one())


def _bounded_count(counted: Select[Any]) -> Select[Any]:
    one: ColumnElement[int] = literal_column("1")
    rows: Select[Any] = counted.with_only_columns(one, maintain_column_froms=True)
    rows = rows.order_by(None).limit(MAX_COUNTED + 1)
    return select(func.count()).select_from(rows.subquery())


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


def sort_order(columns: SortColumns, order_by: str, tie_breaker: InstrumentedAttribute[Any]) -> Order:
    """Return the order by the column that *order_by* names, descending after a `-`; nulls come last.

    *tie_breaker* orders the rows that are equal in that column.
    """
    column = columns[order_by.removeprefix("-")]
    is_descending = order_by.startswith("-")
    # NULLS LAST would prevent the use of an index that was created without it.
    is_nullable = bool(column.property.columns[0].nullable)
    return SortColumn(column, is_descending, is_nullable), SortColumn(tie_breaker, is_descending)
