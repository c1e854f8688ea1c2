"""Wait for states of jobs, read from the database, which also works while the API is down."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from faults.load import Load
from headrace.adapters.database import StatementPool
from headrace.domain.database import TRANSIENT
from support.harness import Api
from support.patience import PATIENCE_SECONDS, until_async

_OPEN = """
SELECT id, state, attempt, losses FROM jobs
WHERE ($1::uuid[] IS NULL OR id = ANY($1::uuid[])) AND state IN ('queued', 'running')
"""


async def settled(
    database: StatementPool, job_ids: Sequence[str] | None = None, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until the jobs with these ids are final; None: all jobs."""
    ids = None if job_ids is None else [UUID(job_id) for job_id in job_ids]
    unfinished: list[str] = []

    async def are_final() -> bool:
        try:
            unfinished[:] = [str(dict(row)) for row in await database.fetch(_OPEN, ids)]  # type: ignore[call-overload]
        except TRANSIENT as error:
            unfinished[:] = [str(error)]
        return not unfinished

    await until_async(are_final, lambda: f"not final: {unfinished}", seconds)


async def warm_processes(api: Api, database: StatementPool, ledger: Path) -> None:
    """Run a job with a process step: a worker that still loads modules would hand the next one back."""
    await settled(database, await Load(api.http, ledger).submit_many(1, pipeline="relay_apart"))


async def in_second_attempt(database: StatementPool, job_ids: Sequence[str]) -> None:
    """Wait until all jobs that have not ended run in their second attempt."""
    ids = [UUID(job_id) for job_id in job_ids]

    async def are_running() -> bool:
        rows = await database.fetch(_OPEN, ids)
        return bool(rows) and all((row["state"], row["attempt"]) == ("running", 2) for row in rows)

    await until_async(are_running, lambda: "no worker runs them again")


async def running_in(database: StatementPool, job_id: str, run: str) -> None:
    """Wait until the job's log says that the step run *run* has started."""
    name, _, index = run.removesuffix("]").partition("[")

    async def has_started() -> bool:
        return bool(
            await database.fetch(
                "SELECT 1 FROM job_events WHERE job_id = $1 AND type = 'step.started'"
                " AND body->>'step' = $2 AND coalesce(body->>'index', '') = $3",
                UUID(job_id),
                name,
                index,
            )
        )

    await until_async(has_started, lambda: f"{run} of {job_id} does not start")
