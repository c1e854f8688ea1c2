"""Lists and numbers read a bounded number of rows, counted by PostgreSQL, of tables that have many more."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.adapters.database import SESSION, StatementPool
from headrace.domain import paging
from headrace.domain.accounts.reach import Reach
from headrace.domain.database import Row
from headrace.domain.files import repository as files
from headrace.domain.files.repository import FileFilter, FileRepository
from headrace.domain.jobs import job_lists, rare_filters
from headrace.domain.jobs.filters import JobFilter
from headrace.domain.jobs.overview import overview_repository
from headrace.domain.jobs.overview.overview import OverviewFilter
from headrace.domain.jobs.overview.overview_repository import OverviewRepository
from headrace.domain.jobs.repository import JobRepository
from headrace.domain.queues import repository as queues
from headrace.domain.queues.repository import QueueRepository
from headrace.domain.statistics import repository as statistics
from headrace.domain.statistics.repository import StatisticsRepository
from headrace.domain.workers import repository as workers
from headrace.domain.workers.repository import WorkerRepository
from support.lease_driver import OWNER

Statement = tuple[str, Sequence[Any]]

MANY: Final = 20_000
COUNTED: Final = 50
LOOKED: Final = 200
# A few scans of the bound in one statement: the page, the total, and the end of the window.
MOST_ROWS: Final = 3 * LOOKED
_TABLES: Final = ("jobs", "files", "job_tags")


@pytest.fixture
async def crowded(
    database: StatementPool, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> StatementPool:
    """Many jobs and files of one owner, and bounds that are much smaller than their number."""
    for module, name, value in (
        (paging, "MAX_COUNTED", COUNTED),
        (rare_filters, "MAX_RARE", COUNTED),
        (job_lists, "MAX_LOOKED_JOBS", LOOKED),
        (files, "MAX_LOOKED_FILES", LOOKED),
        (queues, "MAX_COUNTED", COUNTED),
        (queues, "MIN_DUE", COUNTED),
        (queues, "_MAX_OLDEST", COUNTED),
        (statistics, "MAX_COUNTED", COUNTED),
        (statistics, "MAX_MEASURED", COUNTED),
        (queues, "MAX_RUNNING", COUNTED),
        (workers, "MAX_RUNNING", COUNTED),
    ):
        monkeypatch.setattr(module, name, value)
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, created_at, updated_at, attempt, started_at, finished_at, lease_owner, lease_expires_at)"
        " SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'"
        " || substr(md5(n::text), 1, 16))::uuid, $1, 'noop', 1, state, '{}', '{}', 'default', 0, at, at, at,"
        " at, 1, CASE WHEN state <> 'queued' THEN at END, CASE WHEN state IN ('succeeded', 'failed') THEN at"
        " END, CASE WHEN state = 'running' THEN 'w' END, CASE WHEN state = 'running' THEN now() END"
        " FROM generate_series(1, $2::int) n CROSS JOIN LATERAL (SELECT now() - n * interval '1 s' AS at,"
        " (ARRAY['queued', 'running', 'succeeded', 'failed'])[1 + n % 4] AS state) job",
        *(OWNER, MANY),
    )
    await database.fetch(
        "INSERT INTO tags (id, owner_id, name, created_at, updated_at)"
        " VALUES (md5('t')::uuid, $1, 'common', now(), now())",
        OWNER,
    )
    await database.fetch("INSERT INTO job_tags SELECT id, md5('t')::uuid FROM jobs WHERE queue = 'default'")
    await database.fetch(
        "INSERT INTO files (id, owner_id, name, media_type, size, sha256, blob_key, created_at, updated_at)"
        " SELECT md5(n::text)::uuid, $1, n::text, 'a/b', 1, sha256('x'), md5(n::text)::uuid, now(), now()"
        " FROM generate_series(1, $2::int) n",
        *(OWNER, MANY),
    )
    for table in _TABLES:
        await database.fetch(f"VACUUM ANALYZE {table}")
    return database


class Recorder:
    """A database that records its statements."""

    def __init__(self, database: StatementPool) -> None:
        self._database = database
        self.statements: list[Statement] = []

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        self.statements.append((statement, arguments))
        return await self._database.fetch(statement, *arguments)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def rows_read(
    database_url: str, statements: Sequence[Statement], most: int = MOST_ROWS
) -> dict[str, int]:
    """Return how many rows of the large tables each statement reads, where that is more than *most*."""
    connection = await asyncpg.connect(database_url, server_settings=SESSION)
    read: dict[str, int] = {}
    try:
        for statement, arguments in statements:
            if statement.lstrip().startswith("EXPLAIN"):
                continue
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
            for node in nodes(json.loads(rows[0][0])[0]["Plan"]):
                assert node["Node Type"] != "Seq Scan" or node["Relation Name"] not in _TABLES, statement
                if node["Node Type"].endswith("Scan") and node.get("Relation Name") in _TABLES:
                    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                    total = round(each * node["Actual Loops"])
                    if total > most:
                        read[f"{node['Node Type']} {node.get('Index Name')} in {statement}"] = total
    finally:
        await connection.close()
    return read


@pytest.fixture
def statements(engine: AsyncEngine) -> list[Statement]:
    """The statements that the engine runs from now on."""
    recorded: list[Statement] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def record(_: Any, __: Any, statement: str, parameters: Sequence[Any], *___: Any) -> None:
        recorded.append((statement, parameters))

    return recorded


@pytest.mark.parametrize("reach", [Reach(OWNER), Reach(None)], ids=["an owner", "all users"])
async def test_each_list_of_jobs_reads_a_bounded_number_of_rows(
    crowded: StatementPool,
    engine: AsyncEngine,
    database_url: str,
    statements: list[Statement],
    reach: Reach,
) -> None:
    between = datetime.now(UTC) - timedelta(seconds=MANY // 2)
    filters = [
        JobFilter(limit=20),
        JobFilter(limit=20, order_by="created_at"),
        JobFilter(limit=20, order_by="priority"),
        JobFilter(limit=20, order_by="-finished_at"),
        JobFilter(limit=20, states={"failed"}),
        JobFilter(limit=20, states={"failed", "cancelled"}, order_by="-finished_at"),
        JobFilter(limit=20, states={"cancelled"}, order_by="finished_at"),
        JobFilter(limit=20, states={"cancelled"}, order_by="-finished_at", created_before=between),
        JobFilter(limit=20, states={"failed"}, order_by="finished_at", created_after=between),
        JobFilter(limit=20, states={"queued", "running"}),
        JobFilter(limit=20, states={"cancelled"}),
        JobFilter(limit=20, states={"succeeded", "failed", "cancelled"}),
        JobFilter(limit=20, states={"queued", "failed"}, queue="none"),
        JobFilter(limit=20, states={"failed"}, pipeline="none"),
        JobFilter(limit=20, pipeline="noop"),
        JobFilter(limit=20, pipeline="none"),
        JobFilter(limit=20, queue="none"),
        JobFilter(limit=20, tag="common"),
        JobFilter(limit=20, tag="none"),
        JobFilter(limit=20, preset_id=OWNER),
    ]
    async with async_sessionmaker(engine)() as session:
        repository = JobRepository(session)
        for each in filters:
            page = await repository.fetch_page(reach, each)
            if page.next is not None:
                await repository.fetch_page(reach, JobFilter(**{**_fields(each), "after": page.next}))

    assert await rows_read(database_url, statements) == {}


def _fields(filters: JobFilter) -> dict[str, Any]:
    return {name: getattr(filters, name) for name in filters.__struct_fields__}


@pytest.mark.parametrize("reach", [Reach(OWNER), Reach(None)], ids=["an owner", "all users"])
async def test_each_list_of_files_reads_a_bounded_number_of_rows(
    crowded: StatementPool,
    engine: AsyncEngine,
    database_url: str,
    statements: list[Statement],
    reach: Reach,
) -> None:
    async with async_sessionmaker(engine)() as session:
        repository = FileRepository(session)
        page = await repository.fetch_page(reach, FileFilter(limit=20))
        await repository.fetch_page(reach, FileFilter(limit=20, after=page.next))
        for filters in (FileFilter(search="none"), FileFilter(order_by="name"), FileFilter(order_by="-size")):
            await repository.fetch_page(reach, filters)

    assert await rows_read(database_url, statements) == {}


@pytest.mark.parametrize("owner_id", [OWNER, None], ids=["an owner", "all users"])
async def test_numbers_and_overviews_read_a_bounded_number_of_rows(
    crowded: StatementPool, database_url: str, owner_id: Any
) -> None:
    recorder = Recorder(crowded)
    numbers = StatisticsRepository(recorder)
    for pipeline in (None, "noop", "none"):
        await numbers.fetch(owner_id, timedelta(hours=24), pipeline)
    await QueueRepository(recorder).fetch_queues(owner_id, [["default"]])
    await QueueRepository(recorder).fetch_scaling("default", 50)
    await QueueRepository(recorder).fetch_scaling("none", 50)
    await WorkerRepository(recorder).fetch_live(timedelta(seconds=20), owner_id)

    assert await rows_read(database_url, recorder.statements) == {}


async def test_an_overview_begins_with_a_bounded_number_of_jobs(
    crowded: StatementPool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_repository, "MAX_LOOKED_JOBS", LOOKED)
    recorder = Recorder(crowded)
    for filters in (OverviewFilter(pipeline="none"), OverviewFilter(tag="none"), OverviewFilter()):
        await OverviewRepository(recorder).fetch_newest(OWNER, filters, 20)

    assert await rows_read(database_url, recorder.statements) == {}
