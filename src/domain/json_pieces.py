"""Decodes a large JSON text in pieces: the lists and objects at its third level, then the rest. Pure.

The jobs of a batch are such pieces, and so are the lists and objects in the parameters of a job.
"""

import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from headrace.domain.json_costs import (
    EASY_COST,
    MAX_COST,
    MAX_TEXT_BYTES,
    JsonTooCostlyError,
    decoding_cost,
    number_cost,
)
from headrace.domain.json_limits import MAX_JSON_DEPTH, NestedTooDeepError, NulCharacterError, has_nul

_CHUNK_BYTES: Final = 16 * 1024
_PIECE_DEPTH: Final = 2
# Neighbours in a list are decoded together up to this size.
_RUN_BYTES: Final = 8 * 1024
_ITEMS_IN_TURN: Final = 4096
# More lists and objects would occupy the cycle collector for too long.
_MAX_CONTAINERS: Final = 500_000
# No text of a caller contains NUL.
_PLACEHOLDER: Final = "\0"

_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{}"]', re.DOTALL)
_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _LIST = b'"['
_OPENING: Final = frozenset(b"[{")

Decode = Callable[[bytes], Any]
# Where a piece begins and ends, and whether it is an item of a list.
_Piece = tuple[int, int, bool]


def decode_in_pieces(raw: bytes, decode: Decode) -> Generator[None, None, Any]:
    """Decode *raw*; yield whenever the caller should let others work. The value is what it returns.

    Raises:
        NestedTooDeepError: lists and objects are nested too deeply.
        NulCharacterError: a text contains NUL.
        JsonTooCostlyError: a piece would take too long, or all slow numbers or all containers would.
    """
    runs: list[list[Any]] = []
    outline: list[bytes] = []
    end_of_last = 0
    cost = cost_of_numbers = 0.0
    containers = 0
    for run in _join_neighbours(raw, _PieceFinder(raw).find()):
        if run is None:
            yield
            continue
        start, end = run
        text = b"[%b]" % raw[start:end]
        cost += _check(text)
        cost_of_numbers += number_cost(text)
        containers += text.count(b"[") + text.count(b"{")
        if cost_of_numbers > MAX_COST or containers > _MAX_CONTAINERS:
            raise JsonTooCostlyError
        runs.append(decode(text))
        outline += _without_nul(raw[end_of_last:start]), b'"\\u0000%d"' % (len(runs) - 1)
        end_of_last = end
        if cost > EASY_COST:
            cost = 0.0
            yield
    outline.append(_without_nul(raw[end_of_last:]))
    text = b"".join(outline)
    yield
    if decoding_cost(text) + cost_of_numbers > MAX_COST:
        raise JsonTooCostlyError
    yield
    value = decode(text)
    yield
    yield from _fill(value, runs)
    return value


def _check(text: bytes) -> float:
    """Return the cost of decoding *text*.

    Raises:
        JsonTooCostlyError, NulCharacterError: it may not be decoded.
    """
    # For a text that is too long in any case, computing the cost would take long.
    cost = decoding_cost(text) if len(text) <= MAX_TEXT_BYTES else MAX_COST + 1
    if cost > MAX_COST:
        raise JsonTooCostlyError
    _without_nul(text)
    return cost


def _without_nul(text: bytes) -> bytes:
    if has_nul(text):
        raise NulCharacterError
    return text


def _fill(value: Any, runs: list[list[Any]]) -> Generator[None, None, None]:
    """Replace the placeholders in the lists and objects of the second level by the items of their runs."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, dict):
            for count, (key, item) in enumerate(child.items()):
                if _is_placeholder(item):
                    (child[key],) = runs[int(item[1:])]
                if count % _ITEMS_IN_TURN == _ITEMS_IN_TURN - 1:
                    yield
        elif isinstance(child, list):
            items = child.copy()
            child.clear()
            for count, item in enumerate(items):
                child.extend(runs[int(item[1:])] if _is_placeholder(item) else (item,))
                if count % _ITEMS_IN_TURN == _ITEMS_IN_TURN - 1:
                    yield


def _is_placeholder(item: Any) -> bool:
    return isinstance(item, str) and item.startswith(_PLACEHOLDER)


def _join_neighbours(raw: bytes, pieces: Iterator[_Piece | None]) -> Iterator[tuple[int, int] | None]:
    """Join pieces of a list with only a comma between them, up to some size: each call has its costs."""
    run: tuple[int, int] | None = None
    for piece in pieces:
        if piece is None:
            yield None
            continue
        start, end, is_in_list = piece
        if run is not None:
            if is_in_list and end - run[0] <= _RUN_BYTES and raw[run[1] : start].strip() == b",":
                run = (run[0], end)
                continue
            yield run
        run = (start, end)
    if run is not None:
        yield run


class _PieceFinder:
    """Finds the pieces of a text, chunk by chunk."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = self._depth = self._start = 0
        self._is_in_list = self._is_in_string = False

    def find(self) -> Iterator[_Piece | None]:
        """Yield each piece, and None after each chunk."""
        while self._position < len(self._raw):
            end = min(self._position + _CHUNK_BYTES, len(self._raw))
            if self._is_in_string:
                self._skip_string(end)
            else:
                yield from self._scan(end)
            yield None

    def _scan(self, end: int) -> Iterator[_Piece]:
        raw = self._raw
        for match in _STRING_OR_BRACKET.finditer(raw, self._position, end):
            first = match.start()
            if raw[first] == _QUOTE:
                if match.end() == first + 1:
                    # The string ends in another chunk.
                    self._position, self._is_in_string = match.end(), True
                    return
            elif raw[first] in _OPENING:
                self._open(first)
            else:
                self._depth -= 1
                if self._depth == _PIECE_DEPTH:
                    yield self._start, match.end(), self._is_in_list
        self._position = end

    def _open(self, position: int) -> None:
        self._depth += 1
        if self._depth == _PIECE_DEPTH:
            self._is_in_list = self._raw[position] == _LIST
        elif self._depth == _PIECE_DEPTH + 1:
            self._start = position
        elif self._depth > MAX_JSON_DEPTH:
            raise NestedTooDeepError

    def _skip_string(self, end: int) -> None:
        match = _REST_OF_STRING.match(self._raw, self._position, end)
        reached = self._position if match is None else match.end()
        if reached < end and self._raw[reached] == _QUOTE:
            self._position, self._is_in_string = reached + 1, False
        else:
            # A backslash that is the last byte escapes the next one, in the next chunk, or there is none.
            self._position = reached if reached > self._position else end
