"""JSON with many numbers that msgspec decodes slowly is decoded otherwise, to the same values and errors."""

import math
import re
import time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.domain import json_decoding
from headrace.domain.dear_numbers import MAX_DEAR_NUMBERS, count_dear_numbers, has_many_dear_numbers
from headrace.domain.json_costs import MAX_COST, number_cost
from headrace.domain.json_decoding import build_decoder, decode_json
from headrace.domain.pipelines.definition import Pipeline, step
from support.param_types import TYPES

ODD: Final = [
    *("1e308", "-1e-320", "1E5", "0.1e1", "2.0", "-0.0", "1e400", "-1e999", "7", "1" * 30, "1" * 5000),
    *("null", "true", '"x"', '"\\u0000"', "[]", "{}", "NaN", '{"a":1,"a":2}', '"\\ud800"', "[1"),
]
REFUSED: Final = object()
DEAR: Final = ["1e308", "1E-320", "-2.5e+300", "1e0301", "1." + "0" * 130 + "1", "123456789e-310"]


class Take(msgspec.Struct):
    name: str
    level: float
    parts: "list[Take]" = []


class Held(msgspec.Struct):
    name: str
    inner: msgspec.Raw


def outcome(decode: Any, raw: str) -> Any:
    """Return what *decode* makes of *raw*, as if it had many dear numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_decoding, "has_many_dear_numbers", lambda _raw: True)
        try:
            return decode(raw)
        except msgspec.DecodeError:
            return REFUSED


def same(one: Any, other: Any) -> bool:
    if one is REFUSED or other is REFUSED:
        return one is other
    # A decimal that is no number does not equal itself.
    if repr(one) == repr(other):
        return True
    # The elements of sets have any order.
    return bool(one == other) and sorted(msgspec.json.encode(one)) == sorted(msgspec.json.encode(other))


@st.composite
def documents(draw: Any) -> tuple[Any, str]:
    """Return a type, and JSON that is mostly of this type, sometimes with another value in its place."""
    shape, values = draw(TYPES)
    raw = msgspec.json.encode(draw(values)).decode()
    scalars = [*re.finditer(r'"(?:[^"\\]|\\.)*"(?!:)|-?\d[\d.eE+-]*|true|false|null', raw)]
    if scalars and draw(st.booleans()):
        found = draw(st.sampled_from(scalars))
        raw = raw[: found.start()] + draw(st.sampled_from(ODD)) + raw[found.end() :]
    return shape, raw


@given(documents())
@example((Any, "[1e400]"))
@example((dict[float, list[int | None]], '{"1e5":[1.0,null]}'))
@example((Take, '{"name":"a","level":1e308,"parts":[{"name":"b","level":7}]}'))
def test_values_and_refusals_are_those_of_msgspec(document: tuple[Any, str]) -> None:
    shape, raw = document

    assert same(outcome(build_decoder(shape), raw), outcome(msgspec.json.Decoder(shape).decode, raw))


@given(st.recursive(st.sampled_from(ODD), lambda inner: st.lists(inner).map(",".join).map("[{}]".format)))
def test_values_without_a_type_are_those_of_msgspec(raw: str) -> None:
    assert same(outcome(decode_json, raw), outcome(msgspec.json.decode, raw))


def test_a_number_that_no_float_holds_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape("Number out of range - at `$.a[1].b`")):
        decode_json('{"c":[1e308' + 100 * ",1e308" + '],"a":[1,{"b":-1e999}]}')


@pytest.mark.parametrize("inner", ["1e400", "[1e400]", "1" * 5000, '"\\ud800"'])
def test_what_a_raw_field_keeps_is_checked(inner: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        build_decoder(Held)(f'{{"name":"a","inner":{inner}}}')


def test_digits_of_decimals_and_of_raw_json_are_kept() -> None:
    digits = "1." + "0" * 130 + "1"

    assert build_decoder(list[Decimal])(f"[{digits}]") == [Decimal(digits)]
    assert build_decoder(Held)(f'{{"name":"a","inner":[{digits}]}}').inner == msgspec.Raw(
        f"[{digits}]".encode()
    )


class Priced(msgspec.Struct):
    price: Decimal
    levels: list[float] = []


@pytest.mark.parametrize(("shape", "kept"), [(Priced, '"price":1.10'), (Held, '"name":"a","inner":[1.10]')])
def test_types_that_keep_digits_take_as_many_slow_numbers_as_a_request(shape: Any, kept: str) -> None:
    decode = build_decoder(shape)
    most = int(MAX_COST / number_cost(b"[1e308]"))

    few, many = (f'{{{kept},"levels":[{",".join(["1e308"] * count)}]}}' for count in (most, most + 1))

    assert decode(few) is not None
    with pytest.raises(msgspec.DecodeError, match="too many numbers"):
        decode(many)


@pytest.mark.parametrize("number", DEAR)
def test_dear_numbers_are_counted(number: str) -> None:
    raw = f"[{','.join([number] * 100)}]".encode()

    assert count_dear_numbers(raw) >= 100
    assert has_many_dear_numbers(raw)
    assert has_many_dear_numbers(raw.decode())


def test_ordinary_numbers_and_texts_are_not_counted() -> None:
    numbers = [math.sqrt(number) * 10.0 ** (number % 60 - 30) for number in range(1_000)]
    texts = [str(uuid5(UUID(int=1), str(number))) for number in range(MAX_DEAR_NUMBERS)]

    assert not has_many_dear_numbers(msgspec.json.encode([*numbers, *range(2**62, 2**62 + 1_000)]))
    assert not has_many_dear_numbers(msgspec.json.encode(["The end of 2030: 1,000 of them."] * 1_000 + texts))


@step
async def measure(context: Any, item: list[float]) -> list[float]:
    return item


@pytest.mark.parametrize("number", ["1e308", "1e-320"])
def test_the_time_for_a_value_depends_on_its_length_only(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.undo()
    pipeline = Pipeline("dear", params=dict[str, list[float]])
    handle = pipeline.add(measure, for_each=lambda params: params["a"])
    node = pipeline.nodes[handle.name]
    raw = f"[{','.join([number] * 200_000)}]"
    began = time.process_time()

    values = [
        *(node.decode_item(raw), node.decode_output(raw), decode_json(raw)),
        *(pipeline.decode_params(f'{{"a":{raw}}}')["a"], pipeline.decode_output(handle, f"[{raw}]")[0]),
    ]

    assert all(value == [float(number)] * 200_000 for value in values)
    # msgspec takes several seconds for each of them.
    assert time.process_time() - began < 5
