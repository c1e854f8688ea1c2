"""Reads the records of finished jobs from the database and the ledger, as input for the checker."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct, field

from headrace.adapters.database import StatementPool

_JOBS: Final = """
SELECT j.id, j.state, j.attempt, j.fence, j.losses, j.event_seq, j.max_attempts, j.progress,
       j.result::text AS result, p.graph::text AS graph
FROM jobs j JOIN pipelines p ON p.name = j.pipeline AND p.version = j.version WHERE j.id = ANY($1::uuid[])
"""
_EVENTS: Final = """
SELECT job_id, seq, extract(epoch FROM at)::float8 AS at, type, body::text AS body
FROM job_events WHERE job_id = ANY($1::uuid[]) ORDER BY job_id, seq
"""
_STEPS: Final = "SELECT job_id, key, name, state, tries, items IS NOT NULL AS is_group FROM step_runs"


class EventRecord(Struct, frozen=True):
    """One row of a job's log; *at* in seconds since 1970."""

    seq: int
    type: str
    body: dict[str, Any] = {}
    at: float = 0.0

    @property
    def run(self) -> str:
        """The key of the step run that the event belongs to."""
        index = self.body.get("index")
        return self.body["step"] if index is None else f"{self.body['step']}[{index}]"


class StepRecord(Struct, frozen=True, kw_only=True):
    key: str
    name: str
    state: str
    tries: int = 0


class Entry(Struct, frozen=True):
    """An entry into a step run, which is one line of the ledger."""

    run: str
    attempt: int


class JobRecord(Struct, kw_only=True):
    """One job; *waiting_for* comes from the API, *allowed* is the number of tries that each step has."""

    id: str
    state: str
    attempt: int
    fence: int
    losses: int
    event_seq: int
    progress: float
    result: Any = None
    waiting_for: str | None = None
    allowed: dict[str, int] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def of_type(self, *types: str) -> list[EventRecord]:
        return [event for event in self.events if event.type in types]

    @property
    def lost_attempts(self) -> int:
        """The number of lost attempts, with and without blame."""
        return len(self.of_type("attempt.lost"))

    @property
    def start_wait(self) -> float:
        """Seconds from the acceptance of the job to its first start."""
        return self.of_type("job.started")[0].at - self.events[0].at


async def read_records(
    database: StatementPool, job_ids: Sequence[str], ledger: Path | None = None
) -> dict[str, JobRecord]:
    """Return the records of those *job_ids* that exist, by id."""
    ids = [UUID(job_id) for job_id in job_ids]
    records = {}
    for row in await database.fetch(_JOBS, ids):
        graph = msgspec.json.decode(row["graph"])
        records[str(row["id"])] = JobRecord(
            id=str(row["id"]),
            state=row["state"],
            attempt=row["attempt"],
            fence=row["fence"],
            losses=row["losses"],
            event_seq=row["event_seq"],
            progress=row["progress"],
            result=None if row["result"] is None else msgspec.json.decode(row["result"]),
            allowed={node["name"]: row["max_attempts"] or node["retries"] + 1 for node in graph},
        )
    for row in await database.fetch(_EVENTS, ids):
        event = EventRecord(row["seq"], row["type"], msgspec.json.decode(row["body"]), row["at"])
        records[str(row["job_id"])].events.append(event)
    for row in await database.fetch(f"{_STEPS} WHERE job_id = ANY($1::uuid[])", ids):
        if not row["is_group"]:
            step = StepRecord(key=row["key"], name=row["name"], state=row["state"], tries=row["tries"])
            records[str(row["job_id"])].steps.append(step)
    for job_id, entry in _entries(ledger):
        if job_id in records:
            records[job_id].entries.append(entry)
    return records


def _entries(ledger: Path | None) -> Iterator[tuple[str, Entry]]:
    if ledger is not None and ledger.exists():
        for line in ledger.read_text().splitlines():
            job_id, run, attempt = line.split()
            yield job_id, Entry(run, int(attempt))
