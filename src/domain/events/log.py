"""Reads the durable history of jobs for streams."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database, Row
from headrace.domain.events.change_rows import events_of
from headrace.domain.events.encoding import LoggedEvent, number_events

MAX_PAGE_EVENTS: Final = 500
UNLIMITED_BYTES: Final = 2**40

# Numbers have no gaps, so a page ends with the row of event $2 + $3. The size of rows is summed in the
# database, so that a slow reader gets no more than it asks for.
_AFTER: Final = """
SELECT seq, at, type, body, earlier FROM (
    SELECT page.*, row_number() OVER (ORDER BY seq) AS place,
           sum(octet_length(body) + coalesce(octet_length(earlier), 0)) OVER (ORDER BY seq) AS bytes
    FROM (SELECT seq, at, type, body::text AS body, earlier::text AS earlier FROM job_changes
          WHERE job_id = $1 AND seq > $2 AND seq <= coalesce((
              SELECT seq FROM job_changes WHERE job_id = $1 AND seq >= $2 + $3 ORDER BY seq LIMIT 1
          ), 2147483647) ORDER BY seq LIMIT $3) page
) measured WHERE bytes <= $4 OR place = 1 ORDER BY seq
"""


class Head(Struct, frozen=True):
    """The number of a job's newest event, and the job's state."""

    seq: int
    state: str


class EventLog(Protocol):
    """The event log as streams use it."""

    async def read_after(
        self, job_id: UUID, after: int, limit: int = MAX_PAGE_EVENTS, max_bytes: int = UNLIMITED_BYTES
    ) -> list[LoggedEvent]:
        """Return the next events after number *after*: at most *limit* and *max_bytes*, but at least one."""

    async def fetch_heads(self, job_ids: Sequence[UUID]) -> dict[UUID, Head]:
        """Return the heads of those of the jobs that exist."""


class PostgresEventLog:
    """The log in PostgreSQL; every call is one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_after(
        self, job_id: UUID, after: int, limit: int = MAX_PAGE_EVENTS, max_bytes: int = UNLIMITED_BYTES
    ) -> list[LoggedEvent]:
        rows = await self._database.fetch(_AFTER, job_id, after, limit, max_bytes)
        events = [event for row in rows for event in _number(job_id, row) if event.seq > after]
        return list(_first(events, limit, max_bytes))

    async def fetch_heads(self, job_ids: Sequence[UUID]) -> dict[UUID, Head]:
        rows = await self._database.fetch(
            "SELECT id, event_seq, state FROM jobs WHERE id = ANY($1::uuid[])", list(job_ids)
        )
        return {row["id"]: Head(row["event_seq"], row["state"]) for row in rows}


def _number(job_id: UUID, row: Row) -> list[LoggedEvent]:
    return number_events(job_id, row["seq"], row["at"], events_of(row))


def _first(events: Sequence[LoggedEvent], limit: int, max_bytes: int) -> Iterator[LoggedEvent]:
    """Yield the first of *events*: at most *limit* and *max_bytes*, but at least one."""
    size = 0
    for place, event in enumerate(events[:limit]):
        size += len(event.frame)
        if place and size > max_bytes:
            return
        yield event
