"""Numbers in the body of a request, as docs/pipeline-values.md describes what becomes of them."""

import msgspec
import pytest

from headrace.api.jobs.schemas import SubmitJob


def stored(number: str) -> str:
    body = f'{{"pipeline": "noop", "params": {{"n": {number}}}}}'
    params = msgspec.json.decode(body, type=SubmitJob).params
    return msgspec.json.encode(params).decode().removeprefix('{"n":').removesuffix("}")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1.10", "1.1"),
        ("1e2", "100.0"),
        ("-0.0", "-0.0"),
        ("0.1234567890123456789", "0.12345678901234568"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("9007199254740993", "9007199254740993"),
        ("9" * 4_300, "9" * 4_300),
        ("-0", "0"),
        ('"1.10"', '"1.10"'),
    ],
)
def test_numbers_are_whole_or_64_bit_floating_point(number: str, text: str) -> None:
    assert stored(number) == text


@pytest.mark.parametrize("number", ["1e400", "9" * 4_301])
def test_numbers_out_of_range_are_refused(number: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        stored(number)
