"""Parses query parameters: ids, orders, and members of a set."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from litestar.params import QueryParameter

from headrace.api.errors import InvalidInputError

E = TypeVar("E", bound=StrEnum)

IdText = Annotated[str | None, QueryParameter(format="uuid", max_length=36)]
Search = Annotated[str | None, QueryParameter(max_length=200)]


def require_one_of(name: str, value: str | None, allowed: Iterable[str]) -> None:
    """Refuse a value that is not one of *allowed*.

    Raises:
        InvalidInputError: the value is not allowed; the message lists the values that are.
    """
    choices = list(allowed)
    if value is not None and value not in choices:
        raise InvalidInputError(f"query.{name}", f"{name} is one of {', '.join(choices)}")


def sort_options(columns: Mapping[str, Any]) -> list[str]:
    """Return the values of `order_by`: each column, ascending and, with a `-`, descending."""
    return [sign + name for name in columns for sign in ("", "-")]


def parse_order_by(order_by: str, columns: Mapping[str, Any]) -> str:
    """Return *order_by* if it names one of *columns*.

    Raises:
        InvalidInputError: it names another column.
    """
    require_one_of("order_by", order_by, sort_options(columns))
    return order_by


def parse_uuid(name: str, value: str | None) -> UUID | None:
    """Parse an id. (With a parameter of type `UUID | None`, Litestar would take the text `null` for None.)

    Raises:
        InvalidInputError: the value is not a UUID.
    """
    try:
        return None if value is None else UUID(value)
    except ValueError as error:
        raise InvalidInputError(f"query.{name}", f"{name} is the id of something, a UUID") from error


def parse_after(after: str | None, offset: int) -> str | None:
    """Return the cursor *after*, if the page does not begin at an offset as well.

    Raises:
        InvalidInputError: both are given.
    """
    if after is not None and offset:
        raise InvalidInputError("query.offset", "offset counts from the beginning: leave it out with after")
    return after


def set_schema(kind: type[StrEnum]) -> dict[str, str]:
    """Return the JSON Schema of a parameter that lists members of *kind*, separated by commas."""
    member = f"({'|'.join(kind)})"
    return {"pattern": f"^({member}(,{member})*)?$"}


def list_schema(kind: type[StrEnum]) -> dict[str, Any]:
    """Return the JSON Schema of a parameter that may be repeated, with a member of *kind* each time."""
    return {"items": {"type": "string", "enum": list(kind)}}


def parse_members(name: str, values: Iterable[str], kind: type[E]) -> frozenset[E]:
    """Parse the values of a parameter that may be repeated, or has several values with commas between them.

    Raises:
        InvalidInputError: a value is not a member of *kind*.
    """
    texts = [text for value in values for text in value.split(",")]
    for text in texts:
        require_one_of(name, text, kind)
    return frozenset(kind(text) for text in texts)


def parse_set(name: str, value: str | None, kind: type[E]) -> frozenset[E]:
    """Parse a list of members of *kind*, separated by commas.

    Raises:
        InvalidInputError: an entry is not a member of *kind*.
    """
    if not value:
        return frozenset()
    try:
        return frozenset(kind(entry) for entry in value.split(","))
    except ValueError as error:
        allowed = ", ".join(kind)
        raise InvalidInputError(f"query.{name}", f"{name} is a list of {allowed}, with commas") from error
