"""Parts that the bodies of several resources share: names, pages, problems, and how views are built."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from headrace.domain.cursors import MAX_CURSOR_LENGTH
from headrace.domain.omissions import OMITTED
from headrace.domain.paging import MAX_OFFSET, ListPage, PageRequest

T = TypeVar("T")
View = TypeVar("View")

# Python's `$` would let a newline at the end pass.
END_OF_TEXT: Final = r"$(?!\n)"
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^[a-z][a-z0-9_]*{END_OF_TEXT}")]
TagName = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^\S(.*\S)?{END_OF_TEXT}")]
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
# A larger one is refused by name, with what to do instead.
Offset = Annotated[int, QueryParameter(ge=0, schema_extra={"maximum": MAX_OFFSET})]
After = Annotated[str | None, QueryParameter(max_length=MAX_CURSOR_LENGTH)]
Timestamp = Annotated[datetime, Meta(tz=True)]
Tags = Annotated[list[TagName], Meta(max_length=50)]

_NOTHING_LOADED: Final[dict[str, Any]] = {}


class Page(Struct, Generic[T], omit_defaults=True):
    """One page of a list; *total* counts all that match.

    *next* is the cursor of the page behind this one, to be sent as `after`; the last page has none.
    *total_is_estimate*: there are more than 10,000, and *total* is PostgreSQL's estimate.
    *searched_back_to*: only the entries created since then were looked at.
    """

    items: Sequence[T]
    total: int
    limit: int
    offset: int
    total_is_estimate: bool = False
    next: str | None = None
    searched_back_to: datetime | None = None


def page_view(page: ListPage[Any], request: PageRequest, show: Callable[[Any], View]) -> Page[View]:
    """Show a page of a list, each of its items as *show* does."""
    return Page(
        [show(item) for item in page.items],
        page.total,
        request.limit,
        request.offset,
        page.total_is_estimate,
        page.next,
        page.looked_back_to,
    )


class Items(Struct, Generic[T]):
    """A whole list."""

    items: Sequence[T]


class Reference(Struct, forbid_unknown_fields=True):
    """An object that a write has changed, without its contents, because the caller may not read it."""

    id: UUID


class ProblemError(Struct):
    """One fault of a request: the *path* of the value, and what is wrong with it."""

    path: str
    message: str


class Problem(Struct, kw_only=True, omit_defaults=True):
    """An error, in the form of RFC 9457; *code* is stable.

    With `quota_exceeded` it says how much of which *quota* is *used*, and its *limit*.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    errors: list[ProblemError] | None = None
    quota: str | None = None
    used: int | None = None
    limit: int | None = None


def shown(value: Any) -> Any:
    """Return a JSON object as a view shows it, which is empty if a list leaves it out."""
    return {} if value is OMITTED else value


def omission(value: Any) -> bool | UnsetType:
    """Return True if a list leaves *value* out, and otherwise nothing."""
    return True if value is OMITTED else UNSET


def view_of(kind: Callable[..., View], source: object, **computed: Any) -> View:
    """Build a view, a struct or a dataclass: copy the fields that are not *computed* from *source*.

    A field is copied from the attribute of the same name. Fields of a struct that may be unset stay unset.
    """
    # Loaded columns are in the object's dictionary, which is read twice as fast as SQLAlchemy's attributes.
    # Others go through the attribute, which loads them or raises.
    loaded = getattr(source, "__dict__", _NOTHING_LOADED)
    for name in _copied_fields(kind):
        if name not in computed:
            computed[name] = loaded[name] if name in loaded else getattr(source, name)
    return kind(**computed)


@cache
def _copied_fields(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, Struct):
        return tuple(field.name for field in msgspec.structs.fields(kind) if field.default is not UNSET)
    return tuple(field.name for field in fields(kind) if field.init)
