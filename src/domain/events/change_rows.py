"""Packs the events of a change into rows of the event log, and unpacks them. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from headrace.domain.database import Row
from headrace.domain.events.encoding import EncodedEvent

# A reader that wants few events must not get many with them.
MAX_ROW_CHARS: Final = 16 * 1024

_decode: Final = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]]).decode


class ChangeRow(Struct, frozen=True, gc=False):
    """Events side by side: the last one, which is number *position* of its change, and those before it.

    *earlier* is a JSON array of `[type, body]`, or None.
    """

    position: int
    type: str
    body: str
    earlier: str | None


def rows_of(events: Sequence[EncodedEvent]) -> Iterator[ChangeRow]:
    """Yield the rows for the events of a change."""
    earlier: list[str] = []
    size = 0
    for position, event in enumerate(events, start=1):
        size += len(event.body)
        if position < len(events) and size < MAX_ROW_CHARS:
            earlier.append(f'["{event.type}",{event.body}]')
        else:
            joined = f"[{','.join(earlier)}]" if earlier else None
            yield ChangeRow(position, event.type, event.body, joined)
            earlier, size = [], 0


def events_of(row: Row) -> list[EncodedEvent]:
    """Return the events of a stored row, in order."""
    earlier = _decode(row["earlier"]) if row["earlier"] is not None else ()
    events = [EncodedEvent(event_type, bytes(body).decode()) for event_type, body in earlier]
    return [*events, EncodedEvent(row["type"], row["body"])]
