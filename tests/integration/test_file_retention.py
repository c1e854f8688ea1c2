"""Files past their term are removed, except those that unfinished jobs and presets may name."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import SESSION, StatementPool
from headrace.domain.database import Row
from headrace.domain.retention import file_rule
from headrace.domain.retention.file_rule import FileRule
from headrace.domain.retention.rule import NOTHING_LEFT, Batch
from support.retention import OWNER, add_files, add_jobs, add_owner, add_pipeline, new_pruner

NOW = datetime(2030, 5, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD = NOW - 12 * DAY
TERM = 10 * DAY
MOST = 3
BOB, CAL = UUID(int=0xB0B), UUID(int=0xCA1)
TABLES = ("jobs", "files", "presets")


@pytest.fixture
async def ready(database: StatementPool, monkeypatch: pytest.MonkeyPatch) -> StatementPool:
    """An installation with three users, whose files stay if they have more than three uses."""
    monkeypatch.setattr(file_rule, "MAX_USES", MOST)
    await add_pipeline(database)
    await add_owner(database, BOB, "bob")
    await add_owner(database, CAL, "cal")
    return database


async def name_in_params(database: StatementPool, job: UUID, file: UUID) -> None:
    await database.fetch(
        "UPDATE jobs SET params = json_build_object('file', $2::text) WHERE id = $1", job, str(file)
    )


async def add_presets(database: StatementPool, owner: UUID, count: int, file: UUID | None = None) -> None:
    await database.fetch(
        "INSERT INTO presets (id, owner_id, title, pipeline, params, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, n::text, 'noop', json_build_object('file', $3::text), now(), now()"
        " FROM generate_series(1, $2::int) n",
        *(owner, count, str(file)),
    )


async def file_ids(database: StatementPool) -> set[object]:
    return {row["id"] for row in await database.fetch("SELECT id FROM files")}


async def prune_all(rule: FileRule, limit: int) -> list[Batch]:
    """Run a pass of the rule to its end."""
    batches: list[Batch] = []
    while not batches or not batches[-1].is_last:
        batches.append(await rule.prune(NOW, limit))
        assert len(batches) < 100
    return batches


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_any_length_remove_the_files_of_no_use(ready: StatementPool, limit: int) -> None:
    (queued,) = await add_jobs(ready, OLD, state="queued")
    kept = await add_files(ready, OLD, queued, None)
    await name_in_params(ready, queued, kept[1])
    for owner in (BOB, CAL, OWNER, BOB):
        await add_files(ready, OLD, None, owner=owner)
    kept += await add_files(ready, NOW - TERM, None)

    batches = await prune_all(FileRule(ready, TERM), limit)

    assert sum(batch.removed for batch in batches) == 4
    assert {batch.put_off for batch in batches} == {None}
    assert await file_ids(ready) == set(kept)


async def test_a_locked_file_ends_no_pass(ready: StatementPool, database_url: str) -> None:
    locked, *_ = await add_files(ready, OLD, None, None, None, None)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", locked)
            batches = await prune_all(FileRule(ready, TERM), 2)
    finally:
        await connection.close()

    assert sum(batch.removed for batch in batches) == 3
    assert await file_ids(ready) == {locked}


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("use", ["jobs", "presets"])
async def test_files_of_a_user_with_too_many_uses_stay_and_those_of_others_go(
    ready: StatementPool, use: str, limit: int
) -> None:
    if use == "jobs":
        await add_jobs(ready, OLD, MOST, state="queued", owner=BOB)
        await add_jobs(ready, OLD, state="running", owner=BOB)
    else:
        await add_presets(ready, BOB, MOST + 1)
    stay = set()
    for owner in (CAL, BOB, OWNER, BOB, CAL):
        files = await add_files(ready, OLD, None, owner=owner)
        stay |= set(files) if owner == BOB else set()

    batches = await prune_all(FileRule(ready, TERM), limit)

    assert sum(batch.removed for batch in batches) == 3
    assert await file_ids(ready) == stay
    assert [batch.put_off is not None for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert batches[-1].put_off is not None
    assert str(BOB) in batches[-1].put_off


async def test_users_who_have_too_many_uses_only_together_are_looked_at_one_by_one(
    ready: StatementPool,
) -> None:
    stay = set()
    for owner in (OWNER, BOB, CAL):
        (job, *_) = await add_jobs(ready, OLD, 2, state="queued", owner=owner)
        named, _ = await add_files(ready, OLD, None, None, owner=owner)
        await name_in_params(ready, job, named)
        stay.add(named)
    rule = FileRule(ready, TERM)

    counted = await rule.count(NOW)
    batches = await prune_all(rule, 100)

    assert counted == sum(batch.removed for batch in batches) == 3
    assert batches[-1].put_off is None
    assert await file_ids(ready) == stay


async def test_a_job_that_is_submitted_between_two_statements_keeps_its_file(ready: StatementPool) -> None:
    first, later = await add_files(ready, OLD, None, None)
    rule = FileRule(ready, TERM)
    if later < first:
        first, later = later, first

    assert (await rule.prune(NOW, 1)).removed == 1
    (job,) = await add_jobs(ready, NOW, state="queued")
    await name_in_params(ready, job, later)
    await prune_all(rule, 1)

    assert await file_ids(ready) == {later}


async def test_a_pass_that_leaves_files_says_so_and_removes_them_when_their_user_has_fewer_uses(
    ready: StatementPool,
) -> None:
    await add_jobs(ready, OLD, MOST + 1, state="queued", owner=BOB)
    await add_files(ready, OLD, None, owner=BOB)
    await add_files(ready, OLD, None)
    pruner = new_pruner(ready, NOW, files=TERM)

    counted = await pruner.count()
    removed = await pruner.run_now()
    failures = dict(pruner.failures)
    stored = await ready.fetch("SELECT name, error FROM chore_failures")
    (chore,) = await ready.fetch("SELECT next_run_at > now() AS waits FROM chores WHERE name = 'files'")
    await ready.fetch("DELETE FROM jobs WHERE owner_id = $1", BOB)
    later = await pruner.run_now()

    assert removed is not None
    assert later is not None
    assert (counted["files"], removed["files"], later["files"]) == (1, 1, 1)
    assert list(failures) == ["files"]
    assert [(row["name"], failures["files"] in row["error"]) for row in stored] == [("files", True)]
    assert chore["waits"]
    assert pruner.failures == {}
    assert await ready.fetch("SELECT FROM chore_failures") == []


async def test_without_a_term_nothing_is_read(ready: StatementPool) -> None:
    await add_files(ready, NOW - 1_000 * DAY, None)
    rule = FileRule(ready, timedelta.max)

    assert (await rule.prune(NOW, 10), await rule.count(NOW)) == (NOTHING_LEFT, 0)


class Planner:
    """A database that counts, in a transaction that it rolls back, the rows that each statement reads."""

    def __init__(self, database: StatementPool, connection: "asyncpg.Connection[Any]") -> None:
        self._database = database
        self._connection = connection
        self.read: list[dict[str, int]] = []

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        transaction = self._connection.transaction()
        await transaction.start()
        rows = await self._connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
        await transaction.rollback()
        read = dict.fromkeys(TABLES, 0)
        add_rows(json.loads(rows[0][0])[0]["Plan"], read)
        self.read.append(read)
        return await self._database.fetch(statement, *arguments)


def add_rows(node: dict[str, Any], read: dict[str, int]) -> None:
    """Add the rows that the node and those below it read of each table."""
    if node["Node Type"].endswith("Scan") and node.get("Relation Name") in read:
        each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        read[node["Relation Name"]] += round(each * node["Actual Loops"])
    for part in node.get("Plans", ()):
        add_rows(part, read)


@pytest.mark.parametrize("is_analyzed", [True, False])
async def test_each_statement_reads_a_bounded_number_of_jobs_presets_and_files(
    ready: StatementPool, database_url: str, monkeypatch: pytest.MonkeyPatch, *, is_analyzed: bool
) -> None:
    most, limit = 50, 100
    monkeypatch.setattr(file_rule, "MAX_USES", most)
    await add_jobs(ready, OLD, 5_000, state="queued")
    await add_jobs(ready, OLD, 5_000, owner=BOB)
    await add_jobs(ready, OLD, most - 10, state="queued", owner=BOB)
    await add_jobs(ready, OLD, 20, state="running", owner=CAL)
    await add_presets(ready, OWNER, 5_000)
    await add_presets(ready, CAL, 15)
    for owner in (BOB, CAL, OWNER):
        await add_files(ready, OLD, *[None] * 700, owner=owner)
    await ready.fetch("ANALYZE files")
    if is_analyzed:
        await ready.fetch("ANALYZE jobs, presets")
    connection = await asyncpg.connect(database_url, server_settings=SESSION)
    planner = Planner(ready, connection)
    try:
        counted = await FileRule(planner, TERM).count(NOW)
        looks = len(planner.read)
        batches = await prune_all(FileRule(planner, TERM), limit)
    finally:
        await connection.close()

    assert counted == sum(batch.removed for batch in batches) == 1_400
    assert batches[-1].put_off is not None
    assert max(read["jobs"] + read["presets"] for read in planner.read) <= most + 1
    # The page, its rows with their jobs, and the rows that are removed.
    assert max(read["files"] for read in planner.read[looks:]) <= 3 * limit
    assert max(read["files"] for read in planner.read[:looks]) <= 2 * 1_000
