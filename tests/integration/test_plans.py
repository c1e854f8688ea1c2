"""With 100,000 waiting jobs, no SQL statement of a worker or a submission reads them all."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import SESSION, StatementPool
from headrace.domain.accounts.reach import Reach
from headrace.domain.database import Row
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.overview.overview_repository import OverviewRepository
from headrace.domain.jobs.states import JobState
from headrace.domain.jobs.submission.submission import SubmissionKey
from headrace.domain.retention.terms import ChosenTerms
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner
from support.lease_driver import OWNER, change, in_transaction, job_queue, job_spec, submit, sweep

Statement = tuple[str, Sequence[Any]]
Node = dict[str, Any]

MANY = 100_000


class Recorder:
    """A database that records its statements."""

    def __init__(self, database: StatementPool) -> None:
        self._database = database
        self.statements: list[Statement] = []

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        self.statements.append((statement, arguments))
        return await self._database.fetch(statement, *arguments)


@pytest.fixture
async def crowded(database: StatementPool, engine: AsyncEngine) -> StatementPool:
    """A database in which many jobs are due."""
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, created_at, updated_at) SELECT gen_random_uuid(), $1, 'noop', 1, 'queued', '{}', '{}',"
        " 'default', n % 10, now() - n * interval '1 ms',"
        " now() - n * interval '1 ms' - n % 10 * interval '60 seconds', now() - interval '1 hour', now()"
        " FROM generate_series(1, $2::int) n",
        OWNER,
        MANY,
    )
    await database.fetch(
        "INSERT INTO step_runs (job_id, key, name, state, attempt, tries)"
        " SELECT id, 'noop', 'noop', 'pending', 0, 0 FROM jobs"
    )
    await database.fetch("ANALYZE jobs")
    await database.fetch("ANALYZE step_runs")
    return database


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def explain(database_url: str, statements: Sequence[Statement]) -> list[tuple[str, list[Node]]]:
    """Return each statement with the nodes of its two query plans.

    The first is that of a session of the service. It avoids scans of whole tables at any price, and may read
    a whole index instead, so the second is that of a planner which takes what costs least.
    """
    return [
        explained
        for settings in (SESSION, {**SESSION, "enable_seqscan": "on"})
        for explained in await _explain(database_url, statements, settings)
    ]


async def _explain(
    database_url: str, statements: Sequence[Statement], settings: dict[str, str]
) -> list[tuple[str, list[Node]]]:
    connection = await asyncpg.connect(database_url, server_settings=settings)
    try:
        return [
            (statement, list(nodes(json.loads(rows[0][0])[0]["Plan"])))
            for statement, arguments in statements
            for rows in [await connection.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)]
        ]
    finally:
        await connection.close()


def statements_that_read_all(explained: Sequence[tuple[str, list[Node]]]) -> list[str]:
    """Return the statements that scan the whole table, or whose plan costs about as much."""
    return [
        statement
        for statement, parts in explained
        if any(part.get("Relation Name") == "jobs" and part["Node Type"] == "Seq Scan" for part in parts)
        or parts[0]["Total Cost"] > MANY / 20
    ]


async def test_workers_find_their_jobs_by_an_index(crowded: StatementPool, database_url: str) -> None:
    recorder = Recorder(crowded)
    worker = job_queue(recorder)
    claims = await worker.claim(50)
    await worker.claim(1, suspects=True)
    await worker.count_due_suspects(4)
    await worker.renew([(claims[0].job_id, claims[0].fence, 0.5, "{}")])
    await worker.fetch_cancel_requests()
    await worker.write([change(claim, 1, target=JobState.SUCCEEDED) for claim in claims[1:]])
    await worker.release([(claims[0].job_id, claims[0].fence)])
    await sweep(worker)

    explained = await explain(database_url, recorder.statements)

    assert statements_that_read_all(explained) == []
    assert any(part.get("Index Name") == "ix_jobs_due" for part in explained[0][1])


async def test_overview_polls_and_step_times_scan_no_large_table(
    crowded: StatementPool, database_url: str
) -> None:
    recorder = Recorder(crowded)
    overviews = OverviewRepository(recorder)
    first = await overviews.poll(OWNER, None, [], max_running=MANY, max_changes=MANY)
    await overviews.poll(OWNER, first, [OWNER], max_running=MANY, max_changes=MANY)
    await StepTimesRepository(recorder).fetch(["noop@1"])

    explained = await explain(database_url, recorder.statements)

    scanned = [part for _, parts in explained for part in parts if part["Node Type"] == "Seq Scan"]
    assert {part.get("Relation Name") for part in scanned} & {"jobs", "step_runs"} == set()
    assert first.changed == []


async def test_submissions_and_cancels_read_by_an_index(
    crowded: StatementPool, engine: AsyncEngine, database_url: str
) -> None:
    recorder = Recorder(crowded)
    statements = recorder.statements

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def record(_: Any, __: Any, statement: str, parameters: Sequence[Any], *___: Any) -> None:
        statements.append((statement, parameters))

    key = SubmissionKey("key", "{}")
    (job_id,) = await submit(recorder, job_spec(tags=("urgent",)), key=key)
    await submit(recorder, job_spec(), key=key)
    job = await in_transaction(engine, lambda jobs: jobs.get(job_id, Reach(OWNER)))
    await in_transaction(engine, lambda jobs: jobs.why_waiting([job]))
    await in_transaction(engine, lambda jobs: jobs.cancel(job.id, Reach(OWNER)))

    assert statements_that_read_all(await explain(database_url, statements)) == []


async def test_the_newest_jobs_of_an_owner_are_merged_from_those_in_each_state(
    database: StatementPool, engine: AsyncEngine, database_url: str
) -> None:
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, created_at, updated_at) SELECT gen_random_uuid(), $1, 'noop', 1, 'queued', '{}', '{}',"
        " 'default', 0, now(), now(), now() - n * interval '1 s', now() FROM generate_series(1, 5000) n",
        OWNER,
    )
    await database.fetch("ANALYZE jobs")
    statements: list[Statement] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def record(_: Any, __: Any, statement: str, parameters: Sequence[Any], *___: Any) -> None:
        statements.append((statement, parameters))

    page = await in_transaction(engine, lambda jobs: jobs.get_page(Reach(OWNER), JobFilter(limit=50)))

    assert (len(page.items), page.total) == (50, 5000)
    for _, parts in await explain(database_url, statements[:1]):
        limited = [part for part in parts if part["Node Type"] == "Limit" and part["Plan Rows"] == 51]
        (merge,) = [part for part in nodes(limited[0]) if part["Node Type"] == "Merge Append"]
        *known, newer = merge["Plans"]
        scans = [part.get("Index Name") for branch in known for part in nodes(branch)]
        assert [name for name in scans if name] == ["ix_jobs_owner_state"] * len(JobState)
        assert {part["Index Name"] for part in nodes(newer) if "Index Name" in part} == {
            "ix_jobs_owner_state"
        }
        # The page itself is sorted again after the sizes of its values are known.
        in_order = [part["Node Type"] for branch in known for part in nodes(branch)]
        assert "Sort" not in in_order


async def test_the_pruner_finds_its_jobs_by_an_index(crowded: StatementPool, database_url: str) -> None:
    await crowded.fetch(
        "UPDATE jobs SET state = 'succeeded', finished_at = now() - interval '40 days'"
        " WHERE id IN (SELECT id FROM jobs LIMIT 50)"
    )
    recorder = Recorder(crowded)
    pruner = Pruner(recorder, ChosenTerms(), "w", pace=PrunePace())

    removed = await pruner.run_now({"jobs"})

    of_jobs = [(sql, arguments) for sql, arguments in recorder.statements if "finished_at <" in sql]
    explained = await explain(database_url, of_jobs)
    assert removed is not None
    assert removed["jobs"] == 50
    assert len(of_jobs) >= 2
    assert statements_that_read_all(explained) == []
    assert all(any(part.get("Index Name") == "ix_jobs_prunable" for part in plan) for _, plan in explained)
