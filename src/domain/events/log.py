"""The durable history of jobs, as streams read it."""

from asyncio import Semaphore
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.events.encoding import LoggedEvent, encode_frame

MAX_PAGE_EVENTS: Final = 500
UNLIMITED_BYTES: Final = 2**40
_READERS: Final = 3

# Rows of a page are measured before they are sent: a slow reader asks for little at a time.
_AFTER: Final = """
SELECT seq, at, type, body FROM (
    SELECT seq, at, type, body, sum(octet_length(body)) OVER (ORDER BY seq) AS bytes,
           row_number() OVER (ORDER BY seq) AS place
    FROM (SELECT seq, at, type, body::text AS body FROM job_events
          WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) page
) measured WHERE bytes <= $4 OR place = 1 ORDER BY seq
"""


class Head(Struct, frozen=True):
    """How far a job's history goes, and whether the job is over."""

    seq: int
    state: str


class EventLog(Protocol):
    """What a stream reads."""

    async def read_after(
        self, job_id: UUID, after: int, limit: int = MAX_PAGE_EVENTS, max_bytes: int = UNLIMITED_BYTES
    ) -> list[LoggedEvent]:
        """The next events after number *after*, in order: at most *limit*, at most *max_bytes* or one."""

    async def heads(self, job_ids: Sequence[UUID]) -> dict[UUID, Head]:
        """The heads of the jobs that still exist, in one query."""


class PostgresEventLog:
    """The log in PostgreSQL; every call is one statement, no session is held."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Thousands who begin to watch stand in line here: a long wait for a connection means that it is lost.
        self._turns = Semaphore(_READERS)

    async def read_after(
        self, job_id: UUID, after: int, limit: int = MAX_PAGE_EVENTS, max_bytes: int = UNLIMITED_BYTES
    ) -> list[LoggedEvent]:
        async with self._turns:
            rows = await self._database.fetch(_AFTER, job_id, after, limit, max_bytes)
        return [
            LoggedEvent(
                row["seq"], row["type"], encode_frame(job_id, row["seq"], row["at"], row["type"], row["body"])
            )
            for row in rows
        ]

    async def heads(self, job_ids: Sequence[UUID]) -> dict[UUID, Head]:
        rows = await self._database.fetch(
            "SELECT id, event_seq, state FROM jobs WHERE id = ANY($1::uuid[])", list(job_ids)
        )
        return {row["id"]: Head(row["event_seq"], row["state"]) for row in rows}
