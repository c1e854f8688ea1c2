"""Comparing the JSON Schemas of two types: what may change without a new version of a pipeline."""

from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import jsonschema_rs
import msgspec
import pytest
from msgspec import Meta, Struct, defstruct

from headrace.domain.pipelines.schema_changes import differences, narrowings
from headrace.domain.pipelines.schemas import type_schema


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


class Wider(Enum):
    FAST = "fast"
    SLOW = "slow"
    SAFE = "safe"


class Circle(Struct, tag=True):
    radius: int


class Square(Struct, tag=True):
    side: int


class Place(NamedTuple):
    x: int
    y: int


class Tree(Struct):
    size: int = 0
    children: "list[Tree]" = []


class Plant(Struct):
    size: int = 0
    children: "list[Plant]" = []


class StrictTree(Struct):
    size: Annotated[int, Meta(ge=1)] = 1
    children: "list[StrictTree]" = []


class Row(Struct, array_like=True):
    first: int
    second: str = ""


class Swapped(Struct, array_like=True):
    second: str
    first: int = 0


class Turned(NamedTuple):
    y: int
    x: int


EMAIL = Annotated[str, Meta(extra_json_schema={"format": "email"})]
FIELDS_SWAPPED = '$.params: the order of fields was ["first","second"], is ["second","first"]'


class Described(Struct):
    """What it is for."""

    many: Annotated[int, Meta(title="Many", description="How many", examples=[3])] = 3


def struct(*fields: Any, name: str = "Params", **options: Any) -> type[Struct]:
    return defstruct(name, fields, **options)


def changes(old: Any, new: Any) -> list[str]:
    return narrowings(type_schema(old), type_schema(new), "$.params")


COMPATIBLE: list[tuple[Any, Any]] = [
    (int, int),
    (struct(("many", int, 1)), struct(("many", int, 2))),
    (struct(("many", int, 3)), struct(("many", int, 3), name="Renamed")),
    (struct(("many", int, 3)), Described),
    (struct(("many", int)), struct(("many", int, 1))),
    (struct(("many", int)), struct(("many", int), ("more", str, ""))),
    (struct(("many", int), forbid_unknown_fields=True), struct(("many", int))),
    (int, int | None),
    (Annotated[int, Meta(ge=2, le=5)], Annotated[int, Meta(ge=1, le=6)]),
    (Annotated[int, Meta(ge=2)], int),
    (Annotated[int, Meta(gt=2)], Annotated[int, Meta(ge=2)]),
    (Annotated[int, Meta(multiple_of=6)], Annotated[int, Meta(multiple_of=3)]),
    (Annotated[str, Meta(min_length=2, max_length=5)], Annotated[str, Meta(min_length=1, max_length=6)]),
    (Annotated[str, Meta(pattern="^a")], str),
    (Annotated[list[int], Meta(min_length=1)], list[int]),
    (Annotated[dict[str, int], Meta(max_length=2)], dict[str, int]),
    (dict[Annotated[str, Meta(min_length=2)], int], dict[str, int]),
    (Literal["a"], Literal["b", "a"]),
    (Mode, Wider),
    (Circle | Square, Square | Circle | None),
    (Circle | None, Circle | Square | None),
    (Tree, Plant),
    (UUID, UUID),
    (tuple[int, str], tuple[int, str]),
    (Row, Row),
    (Annotated[bytes, Meta(min_length=2, max_length=5)], Annotated[bytes, Meta(min_length=1, max_length=50)]),
    (Annotated[bytes, Meta(max_length=5)], bytes),
    (dict[Annotated[int, Meta(ge=1, le=5)], str], dict[Annotated[int, Meta(ge=0, le=6)], str]),
    (dict[Annotated[int, Meta(ge=1)], str], dict[int, str]),
    (dict[Annotated[float, Meta(ge=1)], str], dict[float, str]),
    (dict[Literal["a"], str], dict[Literal["a", "b"], str]),
    (dict[int | UUID, str], dict[int | UUID, str]),
    (EMAIL, str),
    (int, Annotated[int, Meta(extra_json_schema={"x-ui": "slider"})]),
    (Annotated[int, Meta(extra_json_schema={"x-ui": "slider"})], int),
    (Annotated[datetime, Meta(tz=True)], datetime),
]


@pytest.mark.parametrize(("old", "new"), COMPATIBLE)
def test_what_accepts_and_decodes_the_same_is_no_breaking_change(old: Any, new: Any) -> None:
    assert changes(old, new) == []


BREAKING: list[tuple[Any, Any, list[str]]] = [
    (struct(("many", int)), struct(), ["$.params.many: was removed or renamed"]),
    (
        struct(("many", int)),
        struct(("count", int)),
        ["$.params.many: was removed or renamed", "$.params.count: is a new required field"],
    ),
    (struct(("many", int, 1)), struct(("many", int)), ["$.params.many: is required now"]),
    (struct(("many", int)), struct(("many", str)), ["$.params.many: was integer, is string"]),
    (struct(("many", int)), struct(("many", float)), ["$.params.many: was integer, is number"]),
    (int, int | float, ["$.params: numbers are decoded differently: integer and number are mixed"]),
    (int | None, int, ["$.params: null is no longer accepted"]),
    (
        Decimal | None,
        int | Decimal | None,
        ["$.params: numbers are decoded differently: integer and number are mixed"],
    ),
    (
        struct(("many", int)),
        struct(("many", int), forbid_unknown_fields=True),
        ["$.params: unknown fields are refused now"],
    ),
    (int, Annotated[int, Meta(ge=1)], ["$.params: had no minimum, has minimum 1"]),
    (Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=2)], ["$.params: had minimum 1, has minimum 2"]),
    (
        Annotated[int, Meta(ge=1)],
        Annotated[int, Meta(gt=1)],
        ["$.params: had minimum 1, has exclusiveMinimum 1"],
    ),
    (
        Annotated[int, Meta(le=9)],
        Annotated[int, Meta(lt=9)],
        ["$.params: had maximum 9, has exclusiveMaximum 9"],
    ),
    (
        Annotated[int, Meta(multiple_of=3)],
        Annotated[int, Meta(multiple_of=2)],
        ["$.params: multipleOf was 3, is 2"],
    ),
    (str, Annotated[str, Meta(max_length=5)], ["$.params: maxLength 5 is new"]),
    (str, Annotated[str, Meta(min_length=1)], ["$.params: minLength 1 is new"]),
    (str, Annotated[str, Meta(pattern="^a")], ['$.params: pattern "^a" is new']),
    (list[int], Annotated[list[int], Meta(max_length=2)], ["$.params: maxItems 2 is new"]),
    (list[int], set[int], ["$.params: was list, is set"]),
    (list[int], list[str], ["$.params[]: was integer, is string"]),
    (list, list[int], ["$.params[]: was any type, is integer"]),
    (dict[str, int], dict[str, str], ["$.params{}: was integer, is string"]),
    (dict[str, int], struct(), ["$.params: was object, is Params with fields"]),
    (str, UUID, ["$.params: was string, is uuid"]),
    (Decimal, str, ["$.params: was decimal, is string"]),
    (bytes, str, ["$.params: was bytes in base64, is string"]),
    (int, Any, ["$.params: was integer, is any type"]),
    (Literal["a", "b"], Literal["a"], ['$.params: value "b" is no longer accepted']),
    (Literal[1], Literal["1"], ["$.params: value 1 is no longer accepted"]),
    (Wider, Mode, ['$.params: value "safe" is no longer accepted']),
    (
        Literal["fast", "slow"],
        Mode,
        ['$.params: was one of ["fast","slow"], is an Enum with ["fast","slow"]'],
    ),
    (Mode, str, ['$.params: was an Enum with ["fast","slow"], is string']),
    (Circle | Square, Circle, ["$.params: Square with fields is no longer accepted"]),
    (struct(("radius", int)), Circle, ["$.params.type: is a new required field"]),
    (tuple[int, str], tuple[int, int], ["$.params[1]: was string, is integer"]),
    (
        tuple[int, str],
        tuple[int],
        ["$.params: had 2 places, has 1", "$.params: maxItems was 2, is 1"],
    ),
    (Tree, StrictTree, ["$.params.size: had no minimum, has minimum 1"]),
    (list[int], tuple[int, ...], ["$.params: was list, is tuple"]),
    (tuple[int, str], list[int], ["$.params: was tuple with 2 places, is list"]),
    (Place, tuple[int, int], ['$.params: the order of fields ["x","y"] was dropped']),
    (
        Row,
        Swapped,
        [FIELDS_SWAPPED, "$.params[0]: was integer, is string", "$.params[1]: was string, is integer"],
    ),
    (Place, Turned, ['$.params: the order of fields was ["x","y"], is ["y","x"]']),
    (dict[int, str], dict[str, str], ["$.params{key}: was integer, is string"]),
    (dict[int, str], dict[float, str], ["$.params{key}: was integer, is number"]),
    (dict[Decimal, str], dict[str, str], ["$.params{key}: was decimal, is string"]),
    (dict[date, str], dict[UUID, str], ["$.params{key}: was date, is uuid"]),
    (dict[bytes, str], dict[str, str], ["$.params{key}: was bytes in base64, is string"]),
    (dict[Mode, str], dict[str, str], ['$.params{key}: was one of ["fast","slow"], is string']),
    (
        dict[int | UUID, str],
        dict[int | str, str],
        ["$.params{key}: integer is no longer accepted", "$.params{key}: was uuid, is string"],
    ),
    (dict[int, str], dict[Annotated[int, Meta(ge=1)], str], ["$.params{key}: had no minimum, has minimum 1"]),
    (
        Annotated[bytes, Meta(min_length=1, max_length=50)],
        Annotated[bytes, Meta(min_length=2, max_length=5)],
        ["$.params: x-headrace-minBytes was 1, is 2", "$.params: x-headrace-maxBytes was 50, is 5"],
    ),
    (datetime, Annotated[datetime, Meta(tz=True)], ["$.params: an offset is required now"]),
    (datetime, time, ["$.params: was date-time, is time"]),
    (datetime, Annotated[datetime, Meta(tz=False)], ["$.params: was date-time, is date-time-local"]),
    (str, EMAIL, ['$.params: format "email" is new']),
    (
        Annotated[int, Meta(extra_json_schema={"const": 1})],
        int,
        ["$.params: const 1 was dropped"],
    ),
]


@pytest.mark.parametrize(("old", "new", "reasons"), BREAKING)
def test_breaking_changes_are_named_with_their_paths(old: Any, new: Any, reasons: list[str]) -> None:
    assert changes(old, new) == reasons


def test_the_path_leads_through_lists_and_nested_structs() -> None:
    old = struct(("chains", list[struct(("gain", int), name="Chain")]))  # type: ignore[misc]
    new = struct(("chains", list[struct(("gain", str), name="Chain")]))  # type: ignore[misc]

    assert changes(old, new) == ["$.params.chains[].gain: was integer, is string"]


def test_values_that_stay_valid_decode_to_the_same() -> None:
    constrained = [
        Annotated[int, Meta(ge=2)],
        Annotated[int, Meta(lt=7)],
        Annotated[int, Meta(multiple_of=2)],
        Annotated[str, Meta(max_length=4)],
        Annotated[list[int], Meta(min_length=1)],
        Annotated[datetime, Meta(tz=True)],
    ]
    simple = [int, float, str, bool, UUID, Decimal, bytes, Any, None, Mode, Wider, Literal["fast"]]
    nested = [list[int], set[int], list[Any], dict[str, int], dict[str, Any], tuple[int, str], Place, Row]
    # Only a struct that ignores unknown fields may have let through anything under the name of a new field.
    empty = struct(forbid_unknown_fields=True)
    structs = [Tree, Circle, Square, Described, empty, struct(("many", int)), struct(("many", str, ""))]
    unions = [Literal["fast", 1], int | None, str | None, float | None, int | str, Circle | Square]
    types: list[Any] = [*constrained, *simple, *nested, *structs, *unions]
    scalars = [None, True, 0, 1, 2, 7, 1.5, "", "a", "fast", "slow", "safe", "1.5", "aGk="]
    texts = ["5b5d5a8e-8c1a-4c6e-8f3e-0d3c9a0b1c2d", "2026-01-01T00:00:00Z"]
    lists = [[], [1], [1, 1], [1, "a"], [2, 3]]
    objects = [{}, {"a": 1}, {"a": "b"}, {"many": 1}, {"many": "x"}, {"type": "Circle", "radius": 2}]
    trees = [{"type": "Square", "side": 2}, {"size": 3, "children": [{"size": 1}]}]
    values: list[Any] = [*scalars, *texts, *lists, *objects, *trees]
    compared = 0
    for old, new in product(types, repeat=2):
        if changes(old, new):
            continue
        is_old, is_new = (jsonschema_rs.validator_for(type_schema(kind)) for kind in (old, new))
        for value in values:
            text = msgspec.json.encode(value)
            if not is_old.is_valid(value) or not decodes(text, old):
                continue
            assert is_new.is_valid(value), (old, new, value)
            was, now = (msgspec.json.decode(text, type=kind) for kind in (old, new))
            assert is_same(was, now), (old, new, value)
            compared += 1
    assert compared > 200


def decodes(text: bytes, kind: Any) -> bool:
    try:
        msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        return False
    return True


def is_same(was: Any, now: Any) -> bool:
    """Compare two decoded values. Of structs and enumerations the class and new fields do not count."""
    if isinstance(was, Enum):
        return isinstance(now, Enum) and was.value == now.value
    if isinstance(was, Struct):
        return isinstance(now, Struct) and all(
            is_same(value, getattr(now, name)) for name, value in msgspec.structs.asdict(was).items()
        )
    return type(was) is type(now) and was == now


def test_types_of_outputs_must_stay_equal_apart_from_their_descriptions() -> None:
    plain_struct, wider = struct(("many", int, 1)), struct(("many", int, 1), ("more", int, 0))
    schema = type_schema

    assert differences(schema(plain_struct), schema(Described), "$.output") == []
    assert differences(schema(plain_struct), schema(wider), "$.output") == [
        "$.output.more: accepts more than before"
    ]
    assert differences(schema(int), schema(int | None), "$.output") == ["$.output: accepts more than before"]
    assert differences(schema(int), schema(str), "$.output") == ["$.output: was integer, is string"]
