"""Waiting until jobs have ended, straight from the database: it is there when the API is not."""

from collections.abc import Sequence
from uuid import UUID

from faults.processes import until_async
from headrace.adapters.database import StatementPool
from headrace.domain.database import TRANSIENT

_OPEN = """
SELECT id, state, attempt, losses FROM jobs
WHERE id = ANY($1::uuid[]) AND state IN ('queued', 'running')
"""


async def settled(database: StatementPool, job_ids: Sequence[str], seconds: float = 40) -> None:
    """Wait until every one of the jobs is final."""
    ids = [UUID(job_id) for job_id in job_ids]
    still: list[str] = []

    async def are_final() -> bool:
        try:
            still[:] = [str(dict(row)) for row in await database.fetch(_OPEN, ids)]  # type: ignore[call-overload]
        except TRANSIENT as error:
            still[:] = [str(error)]
        return not still

    await until_async(are_final, lambda: f"not final: {still}", seconds)


async def in_second_attempt(database: StatementPool, job_ids: Sequence[str]) -> None:
    """Wait until those of the jobs that have not ended are run by somebody for the second time."""
    ids = [UUID(job_id) for job_id in job_ids]

    async def are_running() -> bool:
        rows = await database.fetch(_OPEN, ids)
        return bool(rows) and all((row["state"], row["attempt"]) == ("running", 2) for row in rows)

    await until_async(are_running, lambda: "nobody runs them again")


async def running_in(database: StatementPool, job_id: str, run: str) -> None:
    """Wait until a step run of the job is told to have started."""
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
