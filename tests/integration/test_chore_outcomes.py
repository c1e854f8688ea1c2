"""Chores that fail: readiness and `doctor` name them until they succeed again."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.adapters.readiness import check_readiness
from headrace.cli.doctor_upkeep import check_upkeep
from headrace.domain.chores.repository import FAILURE_EXPIRY, ChoreRepository
from headrace.domain.events.partitions import lowest_id_at, months_from
from headrace.domain.pipelines.loading import load_all
from headrace.domain.pipelines.registry import Registrar
from headrace.settings import Settings
from headrace.workers.maintenance.chore_report import ChoreReport
from headrace.workers.maintenance.housekeeper import Housekeeper, hourly_chores
from support.chores import beat
from support.harness import Api
from support.retention import new_pruner, prune_expired

PASSWORD = "none"
STORE_IN_PREVIOUS_RELEASE = """
INSERT INTO chores (name, succeeded_at, failed_at, error)
VALUES ($1, CASE WHEN $2::text IS NULL THEN statement_timestamp() END,
        CASE WHEN $2::text IS NOT NULL THEN statement_timestamp() END, $2::text)
ON CONFLICT (name) DO UPDATE SET
    succeeded_at = coalesce(excluded.succeeded_at, chores.succeeded_at),
    failed_at = coalesce(excluded.failed_at, chores.failed_at),
    error = excluded.error
"""
CHANGED = """
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    many: {kind} = 1

@step
async def only(context: StepContext[Params]) -> int:
    return 1

pipe = Pipeline("pipe", params=Params)
pipe.add(only)
"""


async def degraded(api: Api) -> list[str]:
    response = await api.http.get("/health/ready")
    assert response.status_code == 200
    parts: list[str] = response.json()["degraded"]
    return [part for part in parts if part.startswith("chore:")]


async def keep_house(database: StatementPool, broken: bool, worker: str = "w") -> None:
    """Keep house in a worker that has just started; with *broken* one of its chores fails."""

    async def fail() -> None:
        await database.fetch("SELECT 1 / 0")

    chores = hourly_chores(database) | ({"partitions": fail} if broken else {})
    await Housekeeper(chores, ChoreReport(ChoreRepository(database), worker)).keep_house()


async def test_readiness_names_a_chore_that_fails_until_it_succeeds(
    api: Api, database: StatementPool
) -> None:
    await beat(database, "w")
    before = await degraded(api)
    await keep_house(database, broken=True)
    during = await degraded(api)
    (row,) = await ChoreRepository(database).fetch_failing()
    await keep_house(database, broken=False)

    assert (before, during, await degraded(api)) == ([], ["chore:partitions"], [])
    assert (row.worker, row.succeeded_at) == ("w", None)
    rows = await database.fetch("SELECT name, error, succeeded_at FROM chores ORDER BY name")
    assert [row["name"] for row in rows] == sorted(hourly_chores(database))
    assert all(row["error"] is None and row["succeeded_at"] is not None for row in rows)


async def test_a_failure_counts_until_the_same_worker_succeeds_whatever_others_do(
    api: Api, database: StatementPool
) -> None:
    for worker in ("broken", "whole"):
        await beat(database, worker)
    await keep_house(database, broken=True, worker="broken")

    await keep_house(database, broken=False, worker="whole")

    assert await degraded(api) == ["chore:partitions"]
    await keep_house(database, broken=True, worker="whole")
    assert await degraded(api) == ["chore:partitions"]
    assert [chore.worker for chore in await ChoreRepository(database).fetch_failing()] == ["broken", "whole"]
    for worker in ("broken", "whole"):
        await keep_house(database, broken=False, worker=worker)
    assert await degraded(api) == []


async def test_a_failure_does_not_count_when_its_worker_is_gone_and_its_row_is_deleted_after_a_day(
    api: Api, database: StatementPool
) -> None:
    await beat(database, "broken")
    await keep_house(database, broken=True, worker="broken")

    await database.fetch("UPDATE workers SET last_seen_at = last_seen_at - interval '21 s'")
    after_a_crash = await degraded(api)
    await beat(database, "broken")
    after_an_outage = await degraded(api)
    await database.fetch("UPDATE chore_failures SET failed_at = failed_at - interval '25 hours'")
    await prune_expired(database, FAILURE_EXPIRY)

    assert (after_a_crash, after_an_outage) == ([], ["chore:partitions"])
    assert await database.fetch("SELECT FROM chore_failures") == []


async def test_a_failure_that_a_worker_of_the_previous_release_stores_counts_until_a_success(
    api: Api, database: StatementPool
) -> None:
    await database.fetch(STORE_IN_PREVIOUS_RELEASE, "partitions", "ValueError: broken")

    during = await degraded(api)
    await keep_house(database, broken=False)

    assert (during, await degraded(api)) == (["chore:partitions"], [])
    await database.fetch(STORE_IN_PREVIOUS_RELEASE, "partitions", None)
    assert await degraded(api) == []


async def test_doctor_says_since_when_a_chore_fails_and_why(
    database: StatementPool, settings: Settings
) -> None:
    await beat(database, "w")
    await keep_house(database, broken=False)
    well = await check_upkeep(database, settings)
    await keep_house(database, broken=True)

    (finding,) = await check_upkeep(database, settings)

    assert [(found.subject, found.ok) for found in well] == [("chores", True)]
    assert (finding.subject, finding.ok) == ("chores", False)
    assert finding.text.startswith("partitions failed in worker w at ")
    assert "(last success: never)" not in finding.text
    assert finding.text.endswith(": DivisionByZeroError: division by zero")


async def test_doctor_counts_events_outside_of_their_partition(
    ready: StatementPool, settings: Settings
) -> None:
    await ready.fetch(
        "INSERT INTO job_changes (job_id, seq, at, type, body)"
        " SELECT id, seq, now(), 'log', '{}' FROM unnest($1::uuid[]) AS id, generate_series(1, 7) AS seq",
        [lowest_id_at(datetime.now(UTC) + timedelta(days=200)), UUID("ffffffff-0000-4000-8000-000000000000")],
    )

    findings = await check_upkeep(ready, settings)

    assert [found.text for found in findings if found.subject == "events"] == [
        "7 rows are in job_changes_rest: a clock was wrong; workers move up to 500000 of a month within the"
        " hour, and `headrace migrate` any number"
    ]


async def test_doctor_names_the_months_that_have_no_partition(
    ready: StatementPool, settings: Settings
) -> None:
    this_month, next_month = months_from(datetime.now(UTC), 2)
    for month in (this_month, next_month):
        await ready.fetch(f"DROP TABLE job_changes_{month:%Y_%m}")

    findings = await check_upkeep(ready, settings)

    assert [(found.ok, found.text) for found in findings if found.subject == "events"] == [
        (
            False,
            f"no partition for {this_month:%Y-%m}, {next_month:%Y-%m}: a worker creates it within the hour,"
            " `headrace migrate` at once",
        )
    ]


async def test_doctor_names_a_changed_pipeline_that_workers_will_refuse(
    database: StatementPool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    versions = {}
    for kind in ("int", "str"):
        source = tmp_path / f"pipe_{kind}.py"
        source.write_text(CHANGED.format(kind=kind))
        versions[kind] = msgspec.structs.replace(settings, env="production", pipelines=(str(source),))
    loaded = load_all(versions["int"].pipelines)
    await Registrar(database, loaded.pipelines.values(), may_replace=False).register()

    unchanged = await check_upkeep(database, versions["int"])
    (_, refused) = await check_upkeep(database, versions["str"])
    local = await check_upkeep(database, msgspec.structs.replace(versions["str"], env="local"))

    assert [finding.ok for finding in (*unchanged, *local)] == [True, True]
    assert (refused.subject, refused.ok) == ("pipelines", False)
    assert refused.text.endswith("raise its version: $.params.many: was integer, is string")


@asynccontextmanager
async def as_role(database: StatementPool, url: str, *rights: str) -> AsyncIterator[StatementPool]:
    """Open a pool as a new role, which is no owner and has these rights."""
    role = f"role_{uuid4().hex[:8]}"
    await database.fetch(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    for right in rights:
        await database.fetch(f"GRANT {right} TO {role}")
    address = url.rpartition("@")[2]
    own = await StatementPool.open(f"postgresql://{role}:{PASSWORD}@{address}", size=1)
    try:
        yield own
    finally:
        await own.close()
        await database.fetch(f"DROP OWNED BY {role}")
        await database.fetch(f"DROP ROLE {role}")


async def test_a_worker_that_may_create_no_table_reports_it_and_does_its_other_chores(
    api: Api, database: StatementPool, database_url: str
) -> None:
    month = next(months_from(datetime.now(UTC) + timedelta(days=62), 1))
    await database.fetch(f"DROP TABLE IF EXISTS job_changes_{month:%Y_%m}")
    await api.http.post("/api/v1/jobs", json={"pipeline": "noop"}, headers={"Idempotency-Key": "old"})
    await database.fetch("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    await beat(database, "w")

    async with as_role(
        database, database_url, "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headrace"
    ) as own:
        await keep_house(own, broken=False)
        await new_pruner(own).run_now({"idempotency_keys"})

    assert await degraded(api) == ["chore:partitions"]
    assert await database.fetch("SELECT 1 FROM idempotency_keys") == []
    await keep_house(database, broken=False)
    assert await degraded(api) == []


async def test_a_worker_or_api_without_rights_on_the_table_of_chores_works_on(
    api: Api, database: StatementPool, database_url: str
) -> None:
    await database.fetch("UPDATE pipelines SET removed_at = now() - interval '2 hours' WHERE name = 'noop'")
    await database.fetch("DELETE FROM workers")
    tables = "alembic_version, workers, jobs, pipelines, job_changes, job_changes_rest"

    async with as_role(database, database_url, f"SELECT, DELETE ON {tables}") as own:
        readiness = await check_readiness(own, None)
        with capture_logs() as logs:
            await keep_house(own, broken=False)

    assert (readiness.missing, readiness.degraded) == ([], ["redis", "worker"])
    assert await database.fetch("SELECT 1 FROM pipelines WHERE name = 'noop'") == []
    # Its connections report the missing right, which is logged once for all chores.
    assert [log for log in logs if log["event"] == "chore_not_recorded"] == []
