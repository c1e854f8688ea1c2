"""Large JSON that is decoded in pieces: the value is the same, and no piece is too large."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain import json_pieces
from headrace.domain.json_costs import JsonTooCostlyError
from headrace.domain.json_limits import NestedTooDeepError, NulCharacterError
from headrace.domain.json_pieces import decode_in_pieces

TRICKY = st.text(alphabet='[]{}"\\a,:é', max_size=12)
VALUES = st.recursive(
    TRICKY | st.integers(0, 99) | st.none(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=30,
)
JOB = b'{"pipeline":"ticks","params":{"values":[1,2,[3]],"name":"a \\"b\\" [c]"}}'


def run(work: Generator[None, None, Any]) -> tuple[Any, int]:
    """Return the value of *work*, and how many times it has yielded."""
    turns = 0
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value, turns
        turns += 1


@given(value=VALUES, chunk_bytes=st.integers(2, 20), run_bytes=st.integers(1, 40), spaced=st.booleans())
def test_the_value_is_that_of_the_whole_text(
    value: Any, chunk_bytes: int, run_bytes: int, spaced: bool
) -> None:
    raw = msgspec.json.encode(value)
    raw = msgspec.json.format(raw, indent=2) if spaced else raw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "_CHUNK_BYTES", chunk_bytes)
        patch.setattr(json_pieces, "_RUN_BYTES", run_bytes)
        decoded, _ = run(decode_in_pieces(raw, msgspec.json.decode))

    assert decoded == value


def test_a_large_batch_is_decoded_in_pieces_of_some_kilobytes() -> None:
    raw = b'{"jobs":[' + b",".join([JOB] * 50_000) + b"]}"
    sizes = []

    def decode(text: bytes) -> Any:
        sizes.append(len(text))
        return msgspec.json.decode(text)

    value, turns = run(decode_in_pieces(raw, decode))

    assert value == msgspec.json.decode(raw)
    assert max(sizes) < 64 * 1024
    assert turns > len(raw) // (16 * 1024)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"a":[' + b"[" * 80 + b"]" * 80 + b"]}", NestedTooDeepError),
        (b'{"a":[{"b":"\\u0000"}]}', NulCharacterError),
        (b'{"a":"\\u0000 0"}', NulCharacterError),
        (b'{"a":[[' + b"1e308," * 20_000 + b"1]]}", JsonTooCostlyError),
        (b'{"a":[' + b"[1e308,1e308]," * 20_000 + b"1]}", JsonTooCostlyError),
        (b'{"a":[' + b"1," * 2_000_000 + b"1]}", JsonTooCostlyError),
        (b'{"a":[' + b"{}," * 600_000 + b"1]}", JsonTooCostlyError),
        (b'{"a":["' + b"\\n" * 4_000_000 + b'"]}', JsonTooCostlyError),
    ],
    ids=[
        "depth",
        "nul in a piece",
        "nul outside",
        "numbers",
        "spread numbers",
        "values",
        "objects",
        "a text",
    ],
)
def test_texts_beyond_a_limit_are_refused(raw: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run(decode_in_pieces(raw, msgspec.json.decode))


@pytest.mark.parametrize(
    "raw",
    [
        *(b'{"a":{},{}}', b'{"a":{{},{}}}', b'{"a":[{} {}]}', b'{"a":[{},]}', b'{"a":[{"b":1]]}', b"]]]{"),
        *(b'{"a":["', b'{"a":["\\', b'{"a":{"b":{},{}}}', b"", b'{"a":[{}]}}', b'{"a":[[1}]}'),
    ],
)
def test_text_that_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        run(decode_in_pieces(raw, msgspec.json.decode))
