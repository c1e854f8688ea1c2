"""Requests for a single range of bytes."""

import pytest

from headrace.api.files.ranges import UnsatisfiableRangeError, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=10-5000", (10, 100)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("chunks=0-1", None),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-", None),
        ("bytes=" + "9" * 100 + "-", None),
    ],
)
def test_valid_ranges_are_parsed_and_others_are_ignored(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=0-", 0), ("bytes=-0", 10)])
def test_a_range_beyond_the_end_is_refused(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, size)
