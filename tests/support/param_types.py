"""Hypothesis strategies for the types of params, each with its values as JSON."""

import base64
import enum
import string
from dataclasses import field, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Annotated, Any, Final, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from msgspec import Meta, Struct

LIST: Final[Any] = list
TUPLE: Final[Any] = tuple
DICT: Final[Any] = dict

Typed = tuple[Any, st.SearchStrategy[Any]]
"""A type, and its values as JSON."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Side(enum.Flag):
    LEFT = 1
    RIGHT = 4


class Circle(Struct, tag=True):
    radius: float
    drawn: datetime | None = None


class Square(Struct, tag=True, forbid_unknown_fields=True):
    side: Decimal


class Point(NamedTuple):
    x: int
    at: time = time(1)


class Window(TypedDict, total=False):
    start: Annotated[datetime, Meta(tz=True)]
    length: timedelta


class Row(Struct, array_like=True, tag="row"):
    id: UUID
    at: date = date(2030, 1, 1)
    end: datetime | None = None


OFFSETS: Final = st.sampled_from(["Z", "z", "+01:00", "-0330"])
DATES: Final = st.dates().map(date.isoformat)
TIMES: Final = st.times().map(time.isoformat)
DATE_TIMES: Final = st.builds("{}{}{}".format, DATES, st.sampled_from("Tt "), TIMES)
INTS: Final = st.integers() | st.integers(-(10**400), 10**400)
FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)

# msgspec makes no schema of two classes of the same name in one module.
_names = count()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _seconds(value: timedelta) -> str:
    return str(msgspec.to_builtins(value))


SCALARS: Final[list[Typed]] = [
    (bool, st.booleans()),
    (int, INTS),
    (float, FLOATS | st.integers(-(2**53), 2**53)),
    (str, TEXTS),
    (datetime, st.builds("{}{}".format, DATE_TIMES, OFFSETS | st.just(""))),
    (Annotated[datetime, Meta(tz=True)], st.builds("{}{}".format, DATE_TIMES, OFFSETS)),
    (Annotated[datetime, Meta(tz=False)], DATE_TIMES),
    (date, DATES),
    (time, st.builds("{}{}".format, TIMES, OFFSETS | st.just(""))),
    (Annotated[time, Meta(tz=True)], st.builds("{}{}".format, TIMES, OFFSETS)),
    (Annotated[time, Meta(tz=False)], TIMES),
    (timedelta, st.timedeltas().map(_seconds)),
    (Decimal, st.decimals().map(str) | FLOATS | INTS),
    (UUID, st.uuids().map(str) | st.uuids().map(lambda uuid: uuid.hex)),
    (bytes, st.binary(max_size=8).map(_base64)),
    (Annotated[bytes, Meta(min_length=2, max_length=5)], st.binary(min_size=2, max_size=5).map(_base64)),
    (Annotated[int, Meta(ge=-3, lt=100)], st.integers(-3, 99)),
    (Annotated[int, Meta(gt=2, multiple_of=3)], st.integers(1, 10**30).map(lambda number: 3 * number)),
    (Annotated[float, Meta(gt=0, le=8)], st.floats(0, 8, exclude_min=True)),
    (Annotated[float, Meta(multiple_of=0.5)], st.integers(-99, 99).map(lambda number: number / 2)),
    (Annotated[str, Meta(min_length=2, max_length=4)], st.text(string.printable, min_size=2, max_size=4)),
    (Annotated[str, Meta(pattern="^[a-z]+_[0-9]$")], st.from_regex("[a-z]+_[0-9]", fullmatch=True)),
    (Colour, st.sampled_from(["red", "blue"])),
    (Level, st.sampled_from([1, 2])),
    (Access, st.sampled_from([0, 1, 3, 7])),
    (Side, st.sampled_from([0, 1, 4, 5])),
    (Literal["a", 7], st.sampled_from(["a", 7])),
    (Circle | Square, st.sampled_from([{"type": "Circle", "radius": 1.5}, {"type": "Square", "side": "1"}])),
    (Point, st.sampled_from([[1], [2, "03:04:05"]])),
    (Window, st.sampled_from([{}, {"start": "2030-01-02T03:04:05Z", "length": "PT1S"}])),
    (Row, st.uuids().map(lambda uuid: ["row", str(uuid), "2030-01-02"])),
    (Any, st.none() | TEXTS | st.integers()),
]

KEYS: Final[list[Typed]] = [
    (str, TEXTS),
    (int, INTS.map(str)),
    (Annotated[int, Meta(ge=1, le=50)], st.integers(1, 50).map(str)),
    (float, FLOATS.map(str) | st.sampled_from(["NaN", "1e5", "-inf"])),
    (Decimal, FLOATS.map(str)),
    (UUID, st.uuids().map(str)),
    (bytes, st.binary(min_size=1, max_size=4).map(_base64)),
    (Annotated[bytes, Meta(max_length=1)], st.binary(min_size=1, max_size=1).map(_base64)),
    (date, DATES),
    (datetime, DATE_TIMES),
    (Annotated[datetime, Meta(tz=True)], st.builds("{}Z".format, DATE_TIMES)),
    (timedelta, st.timedeltas().map(_seconds)),
    (Colour, st.sampled_from(["red", "blue"])),
    (Level, st.sampled_from(["1", "2"])),
    (Access, st.sampled_from(["0", "3", "7"])),
    (Side, st.sampled_from(["0", "5"])),
    (Literal["a", 7], st.sampled_from(["a", "7"])),
    (int | UUID, st.integers().map(str) | st.uuids().map(str)),
    (int | None, st.integers().map(str)),
]


def _list_of(item: Typed) -> Typed:
    return LIST[item[0]], st.lists(item[1], max_size=3)


def _short_list_of(item: Typed) -> Typed:
    kind = Annotated[LIST[item[0]], Meta(min_length=1, max_length=2)]
    return kind, st.lists(item[1], min_size=1, max_size=2)


def _optional(item: Typed) -> Typed:
    return item[0] | None, item[1] | st.none()


def _tuple_of(first: Typed, second: Typed) -> Typed:
    return TUPLE[first[0], second[0]], st.tuples(first[1], second[1]).map(list)


def _dict_of(key: Typed, value: Typed) -> Typed:
    return DICT[key[0], value[0]], st.dictionaries(key[1], value[1], max_size=3)


def _struct_of(first: Typed, second: Typed) -> Typed:
    kind = msgspec.defstruct(
        f"Nested{next(_names)}", [("first", first[0]), ("second", second[0] | None, None)]
    )
    return kind, st.fixed_dictionaries({"first": first[1]}, optional={"second": second[1]})


def _dataclass_of(first: Typed, second: Typed) -> Typed:
    kind = make_dataclass(
        f"Record{next(_names)}", [("first", first[0]), ("second", second[0] | None, field(default=None))]
    )
    return kind, st.fixed_dictionaries({"first": first[1]}, optional={"second": second[1]})


def _containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(_list_of),
        inner.map(_short_list_of),
        inner.map(_optional),
        st.builds(_tuple_of, inner, inner),
        st.builds(_dict_of, st.sampled_from(KEYS), inner),
        st.builds(_struct_of, inner, inner),
        st.builds(_dataclass_of, inner, inner),
    )


SETS: Final[list[Typed]] = [
    (set[int], st.lists(INTS, unique=True, max_size=3)),
    (frozenset[UUID], st.lists(st.uuids().map(str), unique=True, max_size=3)),
    (Annotated[set[str], Meta(min_length=1)], st.lists(TEXTS, unique=True, min_size=1, max_size=3)),
]

UNIONS: Final[list[Typed]] = [
    (int | datetime, INTS | DATE_TIMES),
    (float | UUID | None, FLOATS | st.uuids().map(str) | st.none()),
    (int | Decimal, INTS | FLOATS),
    (bytes | list[int] | Circle, st.sampled_from(["AA==", [1], {"type": "Circle", "radius": 1}])),
    (Colour | Circle | Square | None, st.sampled_from(["red", None, {"type": "Square", "side": 0.1}])),
]

TYPES: Final[st.SearchStrategy[Typed]] = st.recursive(
    st.sampled_from(SCALARS + SETS + UNIONS), _containers, max_leaves=4
)
