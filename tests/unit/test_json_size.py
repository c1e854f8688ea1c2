"""The maximum size of JSON stored with an object."""

import msgspec
import pytest

from headrace.domain.json_limits import MAX_JSON_BYTES, ValueTooLargeError, check_size, is_too_large

AROUND = len('{"text":""}')
HUGE = 1e308  # 309 digits without an exponent


def test_json_of_the_maximum_size_is_accepted_and_one_byte_more_is_refused() -> None:
    check_size({"text": "x" * (MAX_JSON_BYTES - AROUND)}, "$.meta")
    with pytest.raises(ValueTooLargeError, match=r"^meta has at most 262144 bytes") as refused:
        check_size({"text": "x" * (MAX_JSON_BYTES - AROUND + 1)}, "$.jobs[3].meta")

    assert refused.value.path == "$.jobs[3].meta"


def test_the_size_is_counted_in_bytes() -> None:
    assert not is_too_large(msgspec.json.encode("x" * 200_000))
    assert is_too_large(msgspec.json.encode("\u00e4" * 200_000))


@pytest.mark.parametrize("number", [HUGE, -HUGE, 1 / HUGE])
def test_numbers_count_as_they_are_written(number: float) -> None:
    numbers = {"v": [number] * 900}

    assert len(msgspec.json.encode(numbers)) < 6_400
    check_size(numbers, "$.params")
    assert not is_too_large(msgspec.json.encode([number] * 30_000))
    assert is_too_large(msgspec.json.encode([number] * 60_000))
