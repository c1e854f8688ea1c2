"""Outputs whose values a later step would read as something else."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from headrace import Pipeline, StepContext, step
from headrace.workers.outputs import compute_items, encode_output
from headrace.workers.values import OutputError
from support.worker_builders import returning

ODD = 2**53 + 1
LOCAL = datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=15)))
BERLIN = ZoneInfo("Europe/Berlin")
REPEATED = datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN)


class Mode(Enum):
    FAST = 1


class Level(IntEnum):
    LOW = 1


class Gain(msgspec.Struct, eq=False):
    db: float
    label: str = ""


class LoudGain(Gain, eq=False):
    lufs: float = 0


class Renamed(msgspec.Struct, rename="camel", omit_defaults=True):
    start_at: Any
    more: int = 0


class Row(msgspec.Struct, array_like=True, tag="row"):
    at: Any


@dataclass
class Take:
    name: str
    at: Any = None


class Window(TypedDict):
    at: date


@pytest.mark.parametrize(
    ("value", "shape", "reason"),
    [
        (ODD, float, f"{ODD} is read as {float(ODD)} - at `$`"),
        (
            {"a": [{"b": ODD}]},
            dict[str, list[dict[str, float]]],
            f"{ODD} is read as {float(ODD)} - at `$.a[0].b`",
        ),
        ({ODD}, set[float], f"the element {ODD} is read differently - at `$`"),
        (0.1, Decimal, "0.1 is read as Decimal('0.1') - at `$`"),
        (date(2030, 1, 2), str, "`date` is read as `str` - at `$`"),
        (timedelta(1), str, "`timedelta` is read as `str` - at `$`"),
        ({"by id": UUID(int=1)}, dict[str, str | None], "`UUID` is read as `str` - at `$['by id']`"),
        ([b"xx"], list[str], "`bytes` is read as `str` - at `$[0]`"),
        ((b"xx", 1), tuple[str, int], "`bytes` is read as `str` - at `$[0]`"),
        (Mode.FAST, int, "`Mode` is read as `int` - at `$`"),
        (1, Mode, "`int` is read as `Mode` - at `$`"),
        ("2030-01-02", date, "`str` is read as `date` - at `$`"),
        (Take("a", date(2030, 1, 2)), dict[str, str | None], "`date` is read as `str` - at `$.at`"),
        ({"at": "2030-01-02"}, Window, "`str` is read as `date` - at `$.at`"),
        (LOCAL, datetime, f"{LOCAL} is read as 2030-01-02 00:00:00+05:30 - at `$`"),
        ([LOCAL], Any, f"{LOCAL} is read as 2030-01-02T00:00:00+05:30 - at `$[0]`"),
        (LoudGain(1), Gain, "the field 'lufs' is not read - at `$`"),
        ({"db": 1, "lufs": 2}, Gain, "the key 'lufs' is not read - at `$`"),
        ([1, 1], set[int], "`list` is read as `set` - at `$`"),
        ([msgspec.Raw(b"1,2")], list[msgspec.Raw], "1 elements are read as 2 - at `$`"),
    ],
)
def test_a_value_that_would_be_read_as_another_is_refused(value: Any, shape: Any, reason: str) -> None:
    with pytest.raises(OutputError) as refused:
        encode_output(returning(shape), "mix", value, 1_000)

    assert refused.value.code == "output_mismatch"
    assert str(refused.value) == f"the output of step 'mix' would not be read as it was returned: {reason}"


@pytest.mark.parametrize(
    ("value", "shape", "json"),
    [
        ((1, 2), list[int], "[1,2]"),
        ([1, 2], tuple[int, ...], "[1,2]"),
        ({1}, list[int], "[1]"),
        ({"a": {(1, 2)}}, Any, '{"a":[[1,2]]}'),
        (3, float, "3"),
        (Level.LOW, int, "1"),
        (Mode.FAST, Mode, "1"),
        ({"mode": Mode.FAST, "level": Level.LOW}, dict, '{"mode":1,"level":1}'),
        ([date(2030, 1, 2), b"xx", Decimal("1.10")], Any, '["2030-01-02","eHg=","1.10"]'),
        ([UUID(int=1), time(1), timedelta(1)], list[Any], f'["{UUID(int=1)}","01:00:00","P1D"]'),
        ({"at": (date(2030, 1, 2),)}, dict[str, list[date]], '{"at":["2030-01-02"]}'),
        ({date(2030, 1, 2): (1,)}, dict[date, list[int]], '{"2030-01-02":[1]}'),
        (Decimal("NaN"), Decimal, '"NaN"'),
        (REPEATED, datetime, '"2030-10-27T02:30:00+02:00"'),
        (REPEATED.replace(fold=1), datetime, '"2030-10-27T02:30:00+01:00"'),
        (datetime(2030, 1, 2, tzinfo=UTC), datetime | int, '"2030-01-02T00:00:00Z"'),
        (Gain(1), Gain, '{"db":1,"label":""}'),
        ([Gain(1.5), None], list[Gain | None], '[{"db":1.5,"label":""},null]'),
        (Gain(1), dict, '{"db":1,"label":""}'),
        ({"db": 1}, Gain, '{"db":1}'),
        (Renamed((1,)), Renamed, '{"startAt":[1]}'),
        (Renamed(date(2030, 1, 2)), dict, '{"startAt":"2030-01-02"}'),
        ([Row((1,))], Any, '[["row",[1]]]'),
        (Row((1,)), Row, '["row",[1]]'),
        (Take("a", (1,)), Take, '{"name":"a","at":[1]}'),
        ({"at": date(2030, 1, 2)}, Window, '{"at":"2030-01-02"}'),
        ({"a": (1,)}, msgspec.Raw, '{"a":[1]}'),
        ([msgspec.Raw(b"1.10"), (1,)], Any, "[1.10,[1]]"),
    ],
)
def test_a_value_that_is_read_as_the_same_data_is_stored(value: Any, shape: Any, json: str) -> None:
    assert encode_output(returning(shape), "mix", value, 1_000) == json


AtLeastZero = Annotated[int, msgspec.Meta(ge=0)]


@pytest.mark.parametrize(
    ("shape", "value", "reason"),
    [
        (AtLeastZero, -1, "Expected `int` >= 0"),
        (Annotated[list[int], msgspec.Meta(max_length=3)], [1] * 4, "Expected `array` of length <= 3"),
        (list[AtLeastZero], [1, -1], "Expected `int` >= 0 - at `$[1]`"),
        (dict[str, AtLeastZero] | None, {"a": -1}, "Expected `int` >= 0 - at `$[...]`"),
    ],
)
def test_outputs_and_items_beyond_the_limits_of_their_annotation_are_refused(
    shape: Any, value: Any, reason: str
) -> None:
    async def plain(context: Any) -> Any: ...
    async def each(context: Any, item: Any) -> None: ...

    plain.__annotations__["return"] = each.__annotations__["item"] = shape
    pipeline = Pipeline("limited", params=dict)
    pipeline.add(step(plain))
    pipeline.add(step(each), for_each=lambda _: [value])

    with pytest.raises(OutputError) as refused:
        encode_output(pipeline.nodes["plain"], "plain", value, 1_000)
    with pytest.raises(OutputError) as refused_item:
        compute_items(pipeline.nodes["each"], {}, 1_000)

    fault = f"is not what its annotation says: {reason}"
    assert str(refused.value) == f"the output of step 'plain' {fault}"
    assert str(refused_item.value) == f"item 0 of step 'each' {fault}"
    assert (refused.value.code, refused_item.value.code) == ("output_mismatch", "items_invalid")


def test_an_item_that_would_be_read_as_another_is_refused() -> None:
    @step
    async def each(context: StepContext[Any], item: str) -> None: ...

    pipeline = Pipeline("losing", params=dict)
    pipeline.add(each, for_each=lambda _: ["a", UUID(int=1)])

    with pytest.raises(OutputError) as refused:
        compute_items(pipeline.nodes["each"], {}, 1_000)

    assert refused.value.code == "items_invalid"
    assert str(refused.value) == (
        "item 1 of step 'each' would not be read as it was returned: `UUID` is read as `str` - at `$`"
    )
