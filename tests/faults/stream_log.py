"""Reads the logs of jobs from PostgreSQL, as the bodies that every transport must send."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from faults.stream_judge import History
from headrace.adapters.database import StatementPool

_JOBS: Final = """
SELECT id, state, extract(epoch FROM finished_at)::float8 AS finished_at FROM jobs WHERE id = ANY($1::uuid[])
"""
_EVENTS: Final = """
SELECT job_id, seq, at, type, body::text AS body FROM job_events
WHERE job_id = ANY($1::uuid[]) ORDER BY job_id, seq
"""
_PAGE_SIZE: Final = 1_000


async def read_histories(database: StatementPool, job_ids: Collection[str]) -> dict[str, History]:
    """Return the histories of the jobs, by id; all jobs must have ended."""
    ids = [UUID(job_id) for job_id in sorted(job_ids)]
    histories: dict[str, History] = {}
    for start in range(0, len(ids), _PAGE_SIZE):
        page = ids[start : start + _PAGE_SIZE]
        for row in await database.fetch(_JOBS, page):
            assert row["finished_at"] is not None, f"{row['id']} is {row['state']}"
            histories[str(row["id"])] = History([], row["state"], row["finished_at"])
        for row in await database.fetch(_EVENTS, page):
            events = histories[str(row["job_id"])].events
            events.append(_body(row["job_id"], row["seq"], row["at"], row["type"], row["body"]))
            assert len(events) == row["seq"], f"{row['job_id']} has a hole before event {row['seq']}"
    return histories


def _body(job_id: UUID, seq: int, at: datetime, kind: str, rest: str) -> bytes:
    # This repeats the encoding on purpose: with the code of the service, both sides would share its faults.
    moment = at.astimezone(UTC).isoformat().removesuffix("+00:00")
    head = f'{{"type":"{kind}","job_id":"{job_id}","seq":{seq},"at":"{moment}Z"'
    return (head + ("}" if rest == "{}" else "," + rest[1:])).encode()
