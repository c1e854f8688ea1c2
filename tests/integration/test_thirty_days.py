"""Thirty days of a service in seconds: from the eighth on, rows and partitions stay as many as they are."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.events.partitions import create_partitions, months_from
from support.retention import add_files, add_jobs, add_pipeline, count_orphans, count_rows, new_pruner

# The months change on the eleventh day, so a partition ends, and is dropped a week later.
FIRST_DAY = datetime(2030, 4, 20, tzinfo=UTC)
DAYS = 30
KEPT_DAYS = 7
PER_DAY = Counter({"succeeded": 20, "failed": 4, "cancelled": 2})


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    await add_pipeline(database)
    for month in months_from(datetime.now(UTC), 6):
        await database.fetch(f"DROP TABLE IF EXISTS job_changes_{month:%Y_%m}")
    return database


async def count_partitions(database: StatementPool) -> int:
    rows = await database.fetch(
        "SELECT count(*)::int AS count FROM pg_inherits WHERE inhparent = 'job_changes'::regclass"
    )
    count: int = rows[0]["count"]
    return count


async def test_rows_and_partitions_are_flat_from_the_eighth_day_on(ready: StatementPool) -> None:
    sizes: list[dict[str, int]] = []
    partitions: list[int] = []
    removed_files = 0
    for day in range(DAYS):
        noon = FIRST_DAY + timedelta(days=day, hours=12)
        await create_partitions(ready, noon)
        for state, count in PER_DAY.items():
            jobs = await add_jobs(ready, noon, count, state=state)
            await add_files(ready, noon, jobs[0])
        kept = timedelta(days=KEPT_DAYS)
        pruner = new_pruner(ready, noon + timedelta(hours=1), succeeded=kept, failed=kept, cancelled=kept)

        removed = await pruner.run_now()

        assert removed is not None
        assert pruner.failures == {}
        rows = await count_rows(ready)
        removed_files += 0 if day < KEPT_DAYS else len(PER_DAY)
        assert rows.pop("blob_removals") == removed_files
        sizes.append(rows)
        partitions.append(await count_partitions(ready))

    per_day = PER_DAY.total()
    flat = {
        "jobs": KEPT_DAYS * per_day,
        "job_changes": KEPT_DAYS * 2 * per_day,
        "step_runs": KEPT_DAYS * per_day,
        "job_tags": 0,
        "files": KEPT_DAYS * len(PER_DAY),
    }
    assert sizes[KEPT_DAYS:] == [flat] * (DAYS - KEPT_DAYS)
    # This month and the next three, the default one, and the month before until its last jobs are gone.
    assert set(partitions) == {5, 6}
    assert [day for day, count in enumerate(partitions) if count == 6] == list(range(11, 10 + KEPT_DAYS))
    assert await count_orphans(ready) == dict.fromkeys(("job_changes", "step_runs", "job_tags", "files"), 0)
