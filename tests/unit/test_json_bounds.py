"""The maximum size of JSON stored with an object."""

import msgspec
import pytest

from headrace.domain.json_bounds import MAX_JSON_BYTES, ValueTooLargeError, check_size, is_too_large

AROUND = len('{"text":""}')
HUGE = 1e308  # 309 digits


def test_as_much_as_the_bound_is_kept_and_one_byte_more_is_not() -> None:
    check_size({"text": "x" * (MAX_JSON_BYTES - AROUND)}, "$.meta")
    with pytest.raises(ValueTooLargeError, match=r"^meta has at most 262144 bytes") as refused:
        check_size({"text": "x" * (MAX_JSON_BYTES - AROUND + 1)}, "$.jobs[3].meta")

    assert refused.value.path == "$.jobs[3].meta"


def test_bytes_count_and_not_characters() -> None:
    assert not is_too_large(msgspec.json.encode("x" * 200_000))
    assert is_too_large(msgspec.json.encode("\u00e4" * 200_000))


@pytest.mark.parametrize("number", [HUGE, -HUGE, 1 / HUGE])
def test_numbers_count_as_they_are_written_out(number: float) -> None:
    assert not is_too_large(msgspec.json.encode([number] * 800))
    assert is_too_large(msgspec.json.encode([number] * 900))


def test_what_looks_like_a_number_in_a_text_is_text() -> None:
    assert not is_too_large(msgspec.json.encode({"1e308": ['"1e308\\"'] * 10_000}))
