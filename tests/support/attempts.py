"""Jobs, the queues of workers and changes for tests of the SQL of attempts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace.adapters.database import StatementPool
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobFailed, JobSucceeded, LogWritten
from headrace.domain.jobs.attempts.changes import Change, JobMove
from headrace.domain.jobs.attempts.claims import Claim, Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.states import JobState
from support.lease_driver import OWNER

LEASE: Final = timedelta(seconds=30)
SUCCESS: Final = JobMove(target=JobState.SUCCEEDED, result="null")


async def queue_job(
    database: StatementPool, *, priority: int = 5, due_in: float = -1, queue: str = "default"
) -> UUID:
    """Queue a job that is due in *due_in* seconds; if that is in the past, it was submitted then."""
    job_id = uuid7()
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, created_at, updated_at) SELECT $1, $2, 'noop', 1, 'queued', '{}', '{}', $5, $3::int, at,"
        " at - $3::int * interval '60 seconds', least(at, now()), now()"
        " FROM (SELECT now() + $4::float8 * interval '1 second' AS at) due",
        job_id,
        OWNER,
        priority,
        due_in,
        queue,
    )
    return job_id


def queue_of(database: StatementPool, name: str = "w1", queues: Sequence[str] = ("default",)) -> JobQueue:
    return JobQueue(
        database, Worker(id=name, queues=tuple(queues), pipelines=("noop@1",), concurrency=10, lease=LEASE)
    )


async def row(database: StatementPool, job_id: UUID) -> Any:
    return (await database.fetch("SELECT * FROM jobs WHERE id = $1", job_id))[0]


async def history(database: StatementPool, job_id: UUID) -> list[tuple[int, str]]:
    rows = await database.fetch("SELECT seq, type FROM job_events WHERE job_id = $1 ORDER BY seq", job_id)
    return [(row["seq"], row["type"]) for row in rows]


def change(claim: Claim, write_no: int, move: JobMove | None = None) -> Change:
    written = Change(job_id=claim.job_id, owner_id=OWNER, fence=claim.fence, write_no=write_no, move=move)
    written.events.append(encode_event(LogWritten(level="info", message=f"change {write_no}")))
    if move is not None and move.target is JobState.SUCCEEDED:
        written.events.append(encode_event(JobSucceeded(result=None)))
    if move is not None and move.error is not None:
        written.events.append(encode_event(JobFailed(error=move.error)))
    return written


async def lose(database: StatementPool, claim: Claim) -> None:
    await database.fetch("UPDATE jobs SET lease_expires_at = '2000-01-01' WHERE id = $1", claim.job_id)
