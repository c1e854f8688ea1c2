"""Partitions of the event log are dropped when all their jobs are gone. `doctor` names those that stay."""

from datetime import UTC, datetime, timedelta, tzinfo

import asyncpg
import pytest
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.cli import doctor_upkeep
from headrace.cli.doctor_upkeep import check_upkeep
from headrace.domain.events.partitions import create_partitions, months_from
from headrace.domain.retention import table_sizes
from headrace.domain.retention.kept_partitions import find_kept_partitions
from headrace.domain.retention.terms import FOREVER, RetentionTerms
from headrace.settings import Settings
from headrace.workers.maintenance.large_tables import LargeTableWatch
from support.retention import add_jobs, add_pipeline, new_pruner

NOW = datetime(2030, 6, 20, 12, tzinfo=UTC)
LATER = datetime(2030, 7, 20, tzinfo=UTC)
MARCH, APRIL, MAY, JUNE = (datetime(2030, month, 10, tzinfo=UTC) for month in (3, 4, 5, 6))


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    """A database with partitions from March to September of 2030."""
    await add_pipeline(database)
    # Those of the template are in the past as well.
    for month in months_from(datetime.now(UTC), 6):
        await database.fetch(f"DROP TABLE IF EXISTS job_changes_{month:%Y_%m}")
    await create_partitions(database, MARCH)
    await create_partitions(database, JUNE)
    return database


class FrozenTime(datetime):
    """Replaces `datetime` in `doctor`, when March is past the 90 days of failed jobs as well."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        assert tz is UTC
        return LATER


async def partitions(database: StatementPool) -> list[str]:
    """Return the months of 2030 that have a partition."""
    rows = await database.fetch(
        "SELECT right(c.relname, 2) AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'job_changes'::regclass AND c.relname LIKE 'job_changes_2030%' ORDER BY 1"
    )
    return [row["month"] for row in rows]


async def test_a_partition_without_jobs_is_dropped_when_its_month_is_over(ready: StatementPool) -> None:
    await add_jobs(ready, MARCH, 3)
    await add_jobs(ready, MAY)
    before = await partitions(ready)
    pruner = new_pruner(ready, NOW, succeeded=timedelta(days=60))

    counted = await pruner.count()
    removed = await pruner.run_now()

    assert removed is not None
    assert before == ["03", "04", "05", "06", "07", "08", "09"]
    assert (counted["event_partitions"], removed["event_partitions"]) == (1, 2)
    assert await partitions(ready) == ["05", "06", "07", "08", "09"]


async def test_a_partition_comes_back_for_a_job_of_its_month(ready: StatementPool) -> None:
    await new_pruner(ready, NOW).run_now()
    await add_jobs(ready, MARCH)
    await create_partitions(ready, NOW)

    assert await partitions(ready) == ["03", "06", "07", "08", "09"]


async def test_a_pinned_job_keeps_its_partition_and_doctor_names_it(
    ready: StatementPool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pinned,) = await add_jobs(ready, MARCH, keep=True)
    await add_jobs(ready, MARCH, 3)
    pruner = new_pruner(ready, NOW)

    await pruner.run_now()
    kept = await partitions(ready)
    monkeypatch.setattr(doctor_upkeep, "datetime", FrozenTime)
    findings = await check_upkeep(ready, settings)
    await ready.fetch("UPDATE jobs SET keep = false")
    await pruner.run_now()

    assert kept == ["03", "06", "07", "08", "09"]
    (named,) = [finding.text for finding in findings if "2030_03" in finding.text]
    assert named.startswith("job_changes_2030_03 (")
    assert "it has events of 1 job that is pinned, unfinished, kept forever or not pruned yet" in named
    assert named.endswith(f"such as {pinned}")
    assert await partitions(ready) == ["06", "07", "08", "09"]


async def test_a_term_without_an_end_does_not_hide_what_is_past_the_others(ready: StatementPool) -> None:
    (pinned,) = await add_jobs(ready, MARCH, keep=True)
    await add_pipeline(ready, "probe", {"succeeded": 7200.0, "failed": "forever"})

    of_pipeline = await find_kept_partitions(ready, RetentionTerms(), LATER)
    of_setting = await find_kept_partitions(ready, RetentionTerms(failed=FOREVER), MAY)
    too_early = await find_kept_partitions(ready, RetentionTerms(failed=FOREVER), APRIL)

    assert [(partition.name, partition.first) for partition in of_pipeline] == [
        ("job_changes_2030_03", pinned)
    ]
    assert [partition.name for partition in of_setting] == ["job_changes_2030_03"]
    assert too_early == []


async def test_nothing_is_past_its_term_if_all_jobs_are_kept_forever(ready: StatementPool) -> None:
    await add_jobs(ready, MARCH)
    terms = RetentionTerms(succeeded=FOREVER, failed=FOREVER, cancelled=FOREVER)

    everything = await find_kept_partitions(ready, terms, LATER)
    await add_pipeline(ready, "probe", {"succeeded": 7200.0})
    with_a_term = await find_kept_partitions(ready, terms, LATER)

    assert (everything, len(with_a_term)) == ([], 1)


async def test_nobody_waits_long_for_a_partition_that_is_to_be_dropped(
    ready: StatementPool, database_url: str
) -> None:
    reader = await asyncpg.connect(database_url)
    try:
        async with reader.transaction():
            await reader.execute("SELECT FROM job_changes LIMIT 1")
            pruner = new_pruner(ready, NOW)
            await pruner.run_now()
            meanwhile = await partitions(ready)
            failures = dict(pruner.failures)
            (next_run,) = await ready.fetch(
                "SELECT next_run_at > statement_timestamp() + interval '5 min' AS is_later"
                " FROM chores WHERE name = 'event_partitions'"
            )
    finally:
        await reader.close()
    await pruner.run_now()

    assert meanwhile[0] == "03"
    assert list(failures) == ["event_partitions"]
    assert "LockNotAvailableError" in failures["event_partitions"]
    # A backup holds the lock for minutes, and `doctor` must not name the rule meanwhile.
    assert next_run["is_later"]
    assert await partitions(ready) == ["06", "07", "08", "09"]
    assert pruner.failures == {}


async def test_large_tables_of_an_installation_that_keeps_everything_are_named(
    ready: StatementPool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_jobs(ready, MARCH, 100)
    await ready.fetch("UPDATE installations SET keeps_everything = true")
    watch = LargeTableWatch(ready, settings.kept)
    unremarkable = (await watch.check(), await large_table_lines(ready, settings))
    monkeypatch.setattr(table_sizes.find_large_tables, "__defaults__", (1024,))

    with capture_logs() as lines:
        counts = [await watch.check(), await watch.check()]
    named = await large_table_lines(ready, settings)
    await ready.fetch("UPDATE installations SET keeps_everything = false")

    assert unremarkable == (0, [])
    assert counts == [5, 5]
    warnings = [line for line in lines if line["event"] == "table_is_large"]
    assert {line["table"] for line in warnings} >= {"jobs", "job_changes", "step_runs"}
    assert len(warnings) == 5
    assert any(line.startswith("job_changes has 0.0 GiB, and this installation keeps") for line in named)
    assert await large_table_lines(ready, settings) == []


async def large_table_lines(database: StatementPool, settings: Settings) -> list[str]:
    findings = await check_upkeep(database, settings)
    return [finding.text for finding in findings if finding.subject == "retention"]
