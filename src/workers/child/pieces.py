"""Cuts messages with a large text into pieces: to encode or decode one must not block the worker's loop.

A thread would not help, because the one long call that encodes a text holds Python's lock.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from headrace.domain.json_limits import MAX_LOOP_CHARS
from headrace.workers.child import protocol

Message = TypeVar("Message", bound=msgspec.Struct)

_TEXTS: Final[dict[type[Any], str]] = {
    protocol.RunStep: "item",
    protocol.Reply: "value",
    protocol.Done: "output",
}
"""The field of each message whose text may be large."""


def cut(message: Message) -> Iterator[Message | protocol.Piece]:
    """Yield *message*; before it, in pieces, its text if that is large."""
    field = _TEXTS.get(type(message))
    text = None if field is None else getattr(message, field)
    if field is None or not isinstance(text, str) or len(text) <= MAX_LOOP_CHARS:
        yield message
        return
    for start in range(0, len(text), MAX_LOOP_CHARS):
        yield protocol.Piece(text[start : start + MAX_LOOP_CHARS])
    yield msgspec.structs.replace(message, **{field: ""})


class Pieces:
    """The pieces that have arrived of a large text."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    @property
    def is_empty(self) -> bool:
        return not self._texts

    def join(self, message: protocol.ToChild | protocol.ToWorker) -> Any:
        """Return *message* with the text of the pieces before it; None for a piece."""
        if isinstance(message, protocol.Piece):
            self._texts.append(message.text)
            return None
        field = _TEXTS.get(type(message))
        if field is not None and self._texts:
            message = msgspec.structs.replace(message, **{field: "".join(self._texts)})
            self._texts.clear()
        return message
