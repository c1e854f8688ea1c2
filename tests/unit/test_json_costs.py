"""What decoding a body costs, judged by its text."""

import pytest

from headrace.domain.json_costs import EASY_COST, MAX_COST, decoding_cost, number_cost
from headrace.domain.json_limits import has_nul

ORDINARY = (
    b'{"pipeline":"ticks","params":{"at":"2026-11-21T10:00:00Z","id":"01900000-0000-7000","x":[1.5,-2e-7]}},'
)


@pytest.mark.parametrize(
    "number", [b"1e308", b"1E-320", b"1e+00308", b"12345e299", b"0.001e-310", b"1." + b"3" * 60, b"9" * 400]
)
def test_many_slow_numbers_cost_too_much_and_a_few_are_easy(number: bytes) -> None:
    assert decoding_cost(b"[" + b",".join([number] * 3_000) + b"]") > MAX_COST
    assert decoding_cost(b"[" + b",".join([number] * 3) + b"]") <= EASY_COST


@pytest.mark.parametrize(
    "number", [b"1e100", b"1.25e-199", b"0.12345678901234567", b"9007199254740993", b"6e23"]
)
def test_other_numbers_cost_no_more_than_their_length(number: bytes) -> None:
    assert number_cost(b"[" + b",".join([number] * 10_000) + b"]") == 0


def test_digits_in_texts_are_no_numbers() -> None:
    raw = b'{"card":"' + b"9" * 20_000 + b'","codes":["' + b"a1e308 \\" * 2_000 + b'","\\\\"]}'

    assert number_cost(raw) == 0
    assert decoding_cost(raw) <= EASY_COST


def test_an_ordinary_body_of_32_kibibytes_is_decoded_at_once() -> None:
    assert decoding_cost(b"[" + ORDINARY * (32 * 1024 // len(ORDINARY)) + b"1]") <= EASY_COST


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"[[]],"])
def test_many_tiny_containers_cost_too_much(unit: bytes) -> None:
    assert decoding_cost(b"[" + unit * 100_000 + b"1]") > MAX_COST


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'"\\u0000"', True),
        (b'{"a\\u0000":1}', True),
        (b'"\\\\\\u0000"', True),
        (b'"\\\\u0000"', False),
        (b'"u0000"', False),
    ],
)
def test_nul_is_found_where_it_is_an_escape(raw: bytes, expected: bool) -> None:
    assert has_nul(raw) is expected
