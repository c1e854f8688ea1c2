"""The one form of events in the log and on the wire, so that every transport sends the same bytes. Pure.

An event is encoded without its header (job, number, time): the database assigns number and time in the
statement that makes the event true. `encode_frame` puts header and body together.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.domain.events.types import JobEvent

_encode: Final = msgspec.json.Encoder().encode


class EncodedEvent(Struct, frozen=True, gc=False):
    """An event on its way into the log: its type, and its JSON without the header."""

    type: str
    body: str


class LoggedEvent(Struct, frozen=True, gc=False):
    """An event of the log: its number in the job, its type, and its frame."""

    seq: int
    type: str
    frame: bytes


def encode_event(event: JobEvent) -> EncodedEvent:
    """Encode *event* for the log.

    Raises:
        TypeError, ValueError: the event holds something that JSON cannot.
    """
    event_type = _type_of(type(event))
    # After {"type":"TYPE" there is either }, or a comma and the fields.
    rest = _encode(event)[len(event_type) + 10 :].decode()
    return EncodedEvent(event_type, "{}" if rest == "}" else "{" + rest[1:])


@cache
def _type_of(kind: type[JobEvent]) -> str:
    return str(kind.__struct_config__.tag)


def encode_frame(job_id: UUID, seq: int, at: datetime, event_type: str, body: str) -> bytes:
    """Return the event as it is sent: `{type, job_id, seq, at}`, then the fields of *body*."""
    header = f'{{"type":"{event_type}","job_id":"{job_id}","seq":{seq},"at":"{_timestamp(at)}"'
    return (header + ("}" if body == "{}" else "," + body[1:])).encode()


def time_of(frame: bytes) -> datetime:
    """Return the time in the header of a frame."""
    start = frame.index(b'"at":"') + 6
    return datetime.fromisoformat(frame[start : frame.index(b'"', start)].decode())


def number_events(job_id: UUID, head: int, at: datetime, events: Iterable[EncodedEvent]) -> list[LoggedEvent]:
    """Return *events* as the log has them when the last of them is number *head*."""
    encoded = list(events)
    first = head - len(encoded) + 1
    return [
        LoggedEvent(seq, event.type, encode_frame(job_id, seq, at, event.type, event.body))
        for seq, event in enumerate(encoded, start=first)
    ]


# All events of a statement have the same time.
@lru_cache(maxsize=64)
def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
