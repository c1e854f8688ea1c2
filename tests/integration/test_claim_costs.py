"""A claim reads what it can claim, however many other jobs are queued."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg
import pytest

from headrace.adapters.database import SESSION
from headrace.adapters.servers import Servers
from headrace.domain.database import Row
from headrace.domain.jobs.attempts.claim_sql import CLAIM
from support.harness import new_database
from support.lease_driver import OWNER, job_queue, seed_database

Node = dict[str, Any]

MANY: Final = 50_000
FEW: Final = 60
RUNNABLE: Final = 1_000
LIMIT: Final = 50
OTHERS: Final = tuple(f"other@{version}" for version in range(1, 100))

FILL: Final = """
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  created_at, updated_at)
SELECT gen_random_uuid(), $1, $2, 1, 'queued', '{}', '{}', 'default', j.priority, j.run_at,
       j.run_at - j.priority * interval '60 seconds', least(j.run_at, now()), now()
FROM generate_series(1, $3::int) n CROSS JOIN LATERAL (
    SELECT coalesce($4::int, n % 10) AS priority, now() + $5::interval + n * interval '1 ms' AS run_at
) j
"""


@pytest.fixture(scope="module")
async def crowded(servers: Servers, template: str) -> AsyncIterator[asyncpg.Connection]:
    """A database in which jobs without a worker, and delayed ones, stand before those that can be claimed.

    The connection has planned claims when the table was small.
    """
    async with new_database(str(servers.database_url), template) as url:
        connection = await asyncpg.connect(url, server_settings=SESSION)
        await seed_database(connection)
        await connection.execute("SET session_replication_role = replica")  # checks no foreign key
        await connection.execute(FILL, OWNER, "noop", FEW, None, timedelta(seconds=-20))
        await connection.execute("VACUUM ANALYZE jobs")
        await connection.execute(f"PREPARE claim AS {CLAIM}")
        await explain_claim(connection, ["noop@1"])
        await connection.execute(FILL, OWNER, "gone", MANY, None, timedelta(days=-1))
        await connection.execute(FILL, OWNER, "noop", MANY, 9, timedelta(minutes=5))
        await connection.execute(FILL, OWNER, "noop", RUNNABLE, None, timedelta(seconds=-10))
        yield connection
        await connection.close()


class Recorder:
    """A database that records the last statement instead of running it."""

    def __init__(self) -> None:
        self.statement = ""
        self.arguments: tuple[Any, ...] = ()

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        self.statement, self.arguments = statement, arguments
        return []


async def explain_claim(connection: asyncpg.Connection, pipelines: Sequence[str]) -> Node:
    """Run a claim with the plan that serves any arguments, and roll it back; return the plan."""
    recorder = Recorder()
    await job_queue(recorder, pipelines=pipelines).claim(LIMIT)
    arguments = ", ".join(map(literal, recorder.arguments))
    assert recorder.statement == CLAIM
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claim ({arguments})")
    await transaction.rollback()
    plan: Node = json.loads(rows[0][0])[0]["Plan"]
    return plan


def literal(argument: Any) -> str:
    if isinstance(argument, list):
        return f"ARRAY[{', '.join(map(literal, argument))}]"
    return str(argument) if isinstance(argument, int) else f"'{argument}'"


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def search_of(plan: Node) -> Node:
    """Return the part of the plan that finds and locks the jobs."""
    (search,) = [node for node in nodes(plan) if node.get("Subplan Name") == "CTE due"]
    return search


def buffers_of(node: Node) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def scans_of_jobs(plan: Node) -> list[Node]:
    """Return the scans of the table of jobs that have run."""
    return [
        node
        for node in nodes(plan)
        if node.get("Relation Name") == "jobs" and node["Node Type"].endswith("Scan") and node["Actual Loops"]
    ]


@pytest.mark.parametrize("has_statistics", [False, True])
async def test_a_claim_reads_no_jobs_that_nobody_serves_or_that_are_not_due(
    crowded: asyncpg.Connection, has_statistics: bool
) -> None:
    if has_statistics:
        await crowded.execute("ANALYZE jobs")

    plan = await explain_claim(crowded, ["noop@1"])

    scans = scans_of_jobs(search_of(plan))
    assert {scan["Index Name"] for scan in scans} == {"ix_jobs_due"}
    assert search_of(plan)["Actual Rows"] == LIMIT
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) <= LIMIT + 10
    assert [scan for scan in scans if scan.get("Rows Removed by Filter")] == []
    assert buffers_of(search_of(plan)) < 3 * LIMIT
    assert {scan["Node Type"] for scan in scans_of_jobs(plan)} <= {"Index Scan", "Bitmap Heap Scan"}


async def test_an_idle_claim_looks_once_for_each_version_that_it_serves(crowded: asyncpg.Connection) -> None:
    plan = await explain_claim(crowded, OTHERS)

    assert search_of(plan)["Actual Rows"] == 0
    assert buffers_of(plan) <= 5 * len(OTHERS)


@pytest.mark.parametrize("pipelines", [("noop@1",), ("noop@1", *OTHERS)])
async def test_postgresql_plans_the_claims_of_a_connection_only_a_few_times(
    crowded: asyncpg.Connection, pipelines: Sequence[str]
) -> None:
    """Planning takes longer than claiming. PostgreSQL plans the first five calls with their values."""
    worker = job_queue(crowded, pipelines=pipelines)
    transaction = crowded.transaction()
    await transaction.start()
    await worker.claim(1)
    before = await plans_of_claims(crowded)
    for limit in range(1, 11):
        assert len(await worker.claim(limit)) == limit
    after = await plans_of_claims(crowded)
    await transaction.rollback()

    assert sum(after) - sum(before) == 10
    assert after[0] <= 5


async def plans_of_claims(connection: asyncpg.Connection) -> tuple[int, int]:
    """Return how many claims were planned with their values, and how many used the plan for any values."""
    row = await connection.fetchrow(
        "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1",
        CLAIM,
    )
    assert row is not None
    return row["custom_plans"], row["generic_plans"]
