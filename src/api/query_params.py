"""What queries may say: one of a named set, or several of it."""

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
    """Refuse a query parameter that is none of *allowed*, and name those.

    Raises:
        InvalidInputError: it is not.
    """
    known = list(allowed)
    if value is not None and value not in known:
        raise InvalidInputError(f"query.{name}", f"{name} is one of {', '.join(known)}")


def sort_options(columns: Mapping[str, Any]) -> list[str]:
    """What `order_by` may say: a column, with or without a - before it."""
    return [sign + name for name in columns for sign in ("", "-")]


def parse_order_by(order_by: str, columns: Mapping[str, Any]) -> str:
    """*order_by*, when it names one of *columns*.

    Raises:
        InvalidInputError: it does not.
    """
    require_one_of("order_by", order_by, sort_options(columns))
    return order_by


def parse_uuid(name: str, value: str | None) -> UUID | None:
    """The id that *value* writes. (As a type of its own a `null` would pass for none.)

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return None if value is None else UUID(value)
    except ValueError as error:
        raise InvalidInputError(f"query.{name}", f"{name} is the id of something, a UUID") from error


def set_schema(kind: type[StrEnum]) -> dict[str, str]:
    """What the contract says of a parameter that lists members of *kind*, between commas."""
    one = f"({'|'.join(kind)})"
    return {"pattern": f"^({one}(,{one})*)?$"}


def parse_set(name: str, value: str | None, kind: type[E]) -> frozenset[E]:
    """The members of *kind* that stand in *value*, between commas.

    Raises:
        InvalidInputError: something else stands there.
    """
    if not value:
        return frozenset()
    try:
        return frozenset(kind(part) for part in value.split(","))
    except ValueError as error:
        allowed = ", ".join(kind)
        raise InvalidInputError(f"query.{name}", f"{name} is a list of {allowed}, with commas") from error
