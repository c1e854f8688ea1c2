"""The paths and sentences of faults in params, and the published schemas of their types."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel

from headrace import Pipeline, PipelineDefinitionError
from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.pipelines.service import Fault, ParamsInvalidError, check_params


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    born: date


class Params(Struct):
    at: datetime
    aware: Annotated[datetime, Meta(tz=True)] | None = None
    local: Annotated[datetime, Meta(tz=False)] | None = None
    day: date | None = None
    hour: time | None = None
    wait: timedelta | None = None
    price: Decimal | None = None
    id: UUID | None = None
    raw: Annotated[bytes, Meta(min_length=1, max_length=4)] | None = None
    size: int | None = None
    ratio: Annotated[float, Meta(multiple_of=0.5)] | None = None
    pet: Cat | Dog | None = None
    code: Annotated[str, Meta(pattern=r"^[a-z]+\Z")] | None = None
    email: Annotated[str, Meta(extra_json_schema={"format": "email"})] | None = None
    rooms: dict[UUID, list[Decimal]] = {}
    floors: dict[Annotated[int, Meta(ge=1)], int] = {}
    kind: Literal["a", 1] = "a"


class Spot(NamedTuple):
    at: datetime


class ArrayLike(Struct, array_like=True):
    size: int


NOON = "2030-01-02T12:00:00Z"
_versions = count(1)


def registered(schema: dict[str, Any]) -> CachedPipeline:
    return CachedPipeline("faulty", next(_versions), schema, datetime(2030, 1, 1, tzinfo=UTC), True)


def faults_of(schema: dict[str, Any], params: Any) -> list[tuple[str, str]]:
    with pytest.raises(ParamsInvalidError) as refused:
        check_params(registered(schema), params)
    assert all(isinstance(fault, Fault) for fault in refused.value.faults)
    return [(fault.path, fault.message) for fault in refused.value.faults]


def schema_of(params: Any) -> dict[str, Any]:
    return Pipeline("typed", params=params).params_schema()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("at", "yesterday", '"yesterday" is not a date-time such as 2030-01-02T03:04:05Z'),
        ("aware", "2030-01-02T03:04:05", '"2030-01-02T03:04:05" has no offset such as Z or +01:00'),
        (
            "local",
            "2030-01-02T03:04:05Z",
            '"2030-01-02T03:04:05Z" is not a date-time without an offset, such as 2030-01-02T03:04:05',
        ),
        ("day", "2030-02-30", '"2030-02-30" is not a date such as 2030-01-02'),
        ("hour", "25:00", '"25:00" is not a time such as 03:04:05'),
        (
            "wait",
            "5 minutes",
            '"5 minutes" is not a duration of days, hours, minutes and seconds, such as P1DT2H30M',
        ),
        ("price", "abc", '"abc" is not a decimal number such as 12.34'),
        ("price", True, 'true is not of type "number" or of type "string" or of type "null"'),
        ("id", "x", '"x" is not a UUID such as 9f7f2c1e-2d53-4b6f-8a8e-5a2f0f4a7c11'),
        ("raw", "AA", '"AA" is not base64 with its padding, such as aGVhZHJhY2U='),
        ("raw", "AAAAAAA=", '"AAAAAAA=" has more than 4 bytes'),
        ("size", 1.0, "1.0 is not written as a whole number such as 100"),
        ("size", 1.5, '1.5 is not of type "integer" or of type "null"'),
        ("ratio", 0.3, "0.3 is not a multiple of 0.5"),
        ("code", "a1", '"a1" does not match "^[a-z]+\\\\Z"'),
        ("email", "nobody", '"nobody" is not an e-mail address'),
        ("pet", 5, '5 is not of type "object" or of type "null"'),
        ("kind", 2, '2 is not one of 1 or "a"'),
        ("floors", {"0": 1}, 'key "0" is not a number that fits: expected `int` >= 1'),
    ],
)
def test_a_fault_has_a_path_and_a_plain_sentence(field: str, value: Any, message: str) -> None:
    faults = faults_of(schema_of(Params), {"at": NOON, field: value})

    assert (f"$.params.{field}", message) in faults


def test_faults_inside_an_optional_or_tagged_value_have_their_own_paths() -> None:
    schema = schema_of(Params)

    assert faults_of(schema, {"at": NOON, "pet": {"type": "dog", "born": "long ago"}}) == [
        ("$.params.pet.born", '"long ago" is not a date such as 2030-01-02')
    ]
    assert faults_of(schema, {"at": NOON, "pet": {"type": "cow"}}) == [
        ("$.params.pet.type", '"cow" is not one of "cat", "dog"')
    ]
    assert faults_of(schema, {"at": NOON, "pet": {"lives": 9}}) == [
        ("$.params.pet", '"type" is a required property')
    ]


def test_all_faults_are_reported_at_once() -> None:
    params = {"at": "soon", "price": "abc", "rooms": {"x": ["1", "y"]}, "size": 2.0}

    assert sorted(faults_of(schema_of(Params), params)) == [
        ("$.params.at", '"soon" is not a date-time such as 2030-01-02T03:04:05Z'),
        ("$.params.price", '"abc" is not a decimal number such as 12.34'),
        ("$.params.rooms", 'key "x" is not a UUID such as 9f7f2c1e-2d53-4b6f-8a8e-5a2f0f4a7c11'),
        ("$.params.rooms.x[1]", '"y" is not a decimal number such as 12.34'),
        ("$.params.size", "2.0 is not written as a whole number such as 100"),
    ]


@pytest.mark.parametrize("price", [0.1, 12, 10**40, "0.10"])
def test_a_decimal_may_be_a_number_or_a_text(price: Any) -> None:
    pipeline = Pipeline("typed", params=Params)

    check_params(registered(pipeline.params_schema()), {"at": NOON, "price": price})


def test_long_values_are_clipped() -> None:
    ((_, message),) = faults_of(schema_of(Params), {"at": "x" * 10_000})

    assert len(message) < 200
    assert message.endswith("x... is not a date-time such as 2030-01-02T03:04:05Z")


def test_the_schema_says_what_msgspec_leaves_out() -> None:
    class Few(Struct):
        at: datetime
        aware: Annotated[datetime, Meta(tz=True)]
        local: Annotated[datetime, Meta(tz=False)]
        price: Decimal
        raw: Annotated[bytes, Meta(max_length=4)]
        days: dict[date, int]
        counts: dict[int, Any]
        spot: Spot

    schema = schema_of(Few)

    assert schema["$defs"]["Few"]["properties"] == {
        "at": {"type": "string", "format": "date-time"},
        "aware": {
            "type": "string",
            "format": "date-time",
            "pattern": "(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$",
        },
        "local": {"type": "string", "format": "date-time-local"},
        "price": {"type": ["string", "number"], "format": "decimal"},
        "raw": {"type": "string", "contentEncoding": "base64", "maxLength": 8, "x-headrace-maxBytes": 4},
        "days": {
            "type": "object",
            "propertyNames": {"format": "date"},
            "additionalProperties": {"type": "integer"},
        },
        "counts": {"type": "object", "propertyNames": {"pattern": "^-?(?:0|[1-9][0-9]*)$"}},
        "spot": {"$ref": "#/$defs/Spot"},
    }
    assert schema["$defs"]["Spot"]["prefixItems"] == [{"type": "string", "format": "date-time"}]


def test_a_schema_of_an_older_worker_is_no_stricter_than_that_worker() -> None:
    """msgspec published a date-time without a format, and a Decimal as a text."""
    older = {
        "type": "object",
        "properties": {
            "at": {"type": "string"},
            "price": {"type": "string", "format": "decimal"},
            "raw": {"type": "string", "contentEncoding": "base64"},
            "id": {"type": "string", "format": "uuid"},
        },
    }

    check_params(
        registered(older),
        {
            "at": "2030-01-02T03:04:05",
            "price": "1.5",
            "raw": "AA==",
            "id": "12345678123456781234567812345678",
        },
    )
    assert [path for path, _ in faults_of(older, {"price": "abc", "raw": "AA", "id": "x"})] == [
        "$.params.price",
        "$.params.raw",
        "$.params.id",
    ]


@pytest.mark.parametrize(
    "params", [list[int], set[str], int, str, None, bytes, tuple[int, int], Spot, ArrayLike]
)
def test_params_that_are_no_object_are_refused(params: Any) -> None:
    with pytest.raises(PipelineDefinitionError, match="pipeline 'total': params are a JSON object, such as"):
        Pipeline("total", params=params)


@pytest.mark.parametrize("params", [dict, dict[int, str], Any, Cat, Cat | Dog, Cat | None])
def test_params_that_may_be_an_object_are_accepted(params: Any) -> None:
    assert Pipeline("total", params=params).params is params


class Size(Struct, forbid_unknown_fields=True):
    width: int
    height: int = 1


class Picture(Struct, forbid_unknown_fields=True):
    width: int
    size: Size | None = None
    sizes: list[Size] = []
    named: dict[str, Size] = {}


class SizeModel(BaseModel, extra="forbid"):
    width: int
    height: int = 1


class PictureModel(BaseModel, extra="forbid"):
    width: int
    size: SizeModel | None = None
    sizes: list[SizeModel] = []
    named: dict[str, SizeModel] = {}


@pytest.mark.parametrize("params", [Picture, PictureModel])
def test_an_unknown_field_is_named_by_its_path_with_the_nearest_one(params: type) -> None:
    faults = faults_of(
        schema_of(params),
        {
            "widht": 1,
            "xyz": 2,
            "size": {"width": 1, "heigth": 2},
            "sizes": [{"width": 1}, {"width": 1, "hight": 2}],
            "named": {"a": {"wide": 3}},
        },
    )

    assert dict(faults) == {
        "$.params": '"width" is a required property',
        "$.params.widht": 'there is no field "widht"; did you mean "width"?',
        "$.params.xyz": 'there is no field "xyz"',
        "$.params.size.heigth": 'there is no field "heigth"; did you mean "height"?',
        "$.params.sizes[1].hight": 'there is no field "hight"; did you mean "height"?',
        "$.params.named.a": '"width" is a required property',
        "$.params.named.a.wide": 'there is no field "wide"; did you mean "width"?',
    }


def test_the_nearest_field_is_looked_for_only_a_few_times() -> None:
    faults = faults_of(schema_of(Picture), {"width": 1} | {f"width{number}": 1 for number in range(50)})

    assert len(faults) == 50
    assert sum("did you mean" in message for _, message in faults) == 3
