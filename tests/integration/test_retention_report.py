"""`GET /retention` lists everything that grows, with its rule and its size."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.domain.base import METADATA
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.retention import growth
from headrace.domain.retention.growth import GROWING
from headrace.domain.retention.report import Retention, RetentionItem, RetentionReport
from headrace.domain.retention.terms import ChosenTerms
from headrace.workers.maintenance.scratch_folders import remove_scratch_folders
from support.chores import beat
from support.harness import Api
from support.retention import add_files, add_jobs, add_pipeline, new_pruner

# Tables whose rows belong to users, who delete them, or of which there are only a few.
BOUNDED = {
    *("users", "identities", "api_keys", "tags", "presets", "preset_tags"),
    *("pipelines", "chores", "job_quotas", "installations"),
}


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    await add_pipeline(database)
    await database.fetch("DELETE FROM installations")
    await database.fetch("INSERT INTO installations (keeps_everything) VALUES (false)")
    return database


def item(report: Retention, name: str) -> RetentionItem:
    (found,) = (item for item in report.items if item.name == name)
    return found


async def build(database: StatementPool, **terms: timedelta) -> Retention:
    return await RetentionReport(database, ChosenTerms(**terms)).build()


def test_every_table_that_grows_is_listed() -> None:
    listed = {"jobs", *(growing.table for growing in GROWING)}

    assert set(METADATA.tables) - BOUNDED == listed - {"pipelines"}


async def test_jobs_are_listed_by_the_state_in_which_they_ended(ready: StatementPool) -> None:
    now = datetime.now(UTC)
    await add_jobs(ready, now - timedelta(days=2), 2)
    await add_jobs(ready, now - timedelta(days=3), 3, state="failed")
    await add_jobs(ready, now - timedelta(days=4), keep=True)
    await add_jobs(ready, now, state="queued")

    report = await build(ready, failed=timedelta(days=5))

    rows = {
        name: (item(report, name).rows, item(report, name).keep, item(report, name).because)
        for name in ("succeeded_jobs", "failed_jobs", "cancelled_jobs", "pinned_jobs", "events", "step_runs")
    }
    assert rows == {
        "succeeded_jobs": (2, "30d", "default"),
        "failed_jobs": (3, "5d", "setting"),
        "cancelled_jobs": (0, "14d", "default"),
        "pinned_jobs": (1, "forever", "job"),
        "events": (14, "with its job", "job"),
        "step_runs": (7, "with its job", "job"),
    }
    assert item(report, "failed_jobs").oldest_at == now - timedelta(days=3)
    assert item(report, "pinned_jobs").oldest_at == now - timedelta(days=4)
    assert item(report, "failed_jobs").bytes > item(report, "succeeded_jobs").bytes > 0
    for name in ("events", "step_runs", "job_tags"):
        assert item(report, name).oldest_at == now - timedelta(days=4), name


async def test_an_upgraded_installation_says_that_it_keeps_everything(ready: StatementPool) -> None:
    await ready.fetch("UPDATE installations SET keeps_everything = true")

    report = await build(ready, audit=timedelta(days=1))

    assert report.keeps_everything
    assert (item(report, "failed_jobs").keep, item(report, "failed_jobs").because) == ("forever", "upgrade")
    assert (item(report, "audit_entries").keep, item(report, "audit_entries").because) == ("1d", "setting")
    assert (item(report, "idempotency_keys").keep, item(report, "idempotency_keys").because) == (
        "1d",
        "fixed",
    )


async def test_many_rows_are_estimated(ready: StatementPool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    await add_jobs(ready, now, 10_500)
    await add_jobs(ready, now, 10, state="failed")
    await add_files(ready, now, *[None] * 3)
    await ready.fetch("ANALYZE jobs")

    report = await build(ready)

    succeeded, failed = item(report, "succeeded_jobs"), item(report, "failed_jobs")
    assert (succeeded.is_estimate, failed.is_estimate) == (True, False)
    assert 10_001 <= succeeded.rows <= 10_510
    assert failed.rows == 10
    assert (item(report, "files").rows, item(report, "files").bytes) == (3, 21)


async def test_the_next_run_of_each_rule_is_listed_while_there_is_a_worker(ready: StatementPool) -> None:
    await beat(ready, "w")
    await new_pruner(ready, holder="w").run_now()
    await ready.fetch("INSERT INTO chores (name, succeeded_at) VALUES ('removed_pipelines', now())")

    report = await build(ready)

    pruned = ("succeeded_jobs", "files", "events", "audit_entries", "idempotency_keys", "removed_pipelines")
    for name in pruned:
        listed = item(report, name)
        assert listed.last_run_at is not None, name
        assert listed.next_run_at is not None, name
        assert listed.next_run_at > listed.last_run_at, name
    await ready.fetch("DELETE FROM workers")
    assert item(await build(ready), "files").next_run_at is None


async def test_what_workers_have_found_in_folders_is_listed(
    ready: StatementPool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "headrace-run-dead").mkdir()
    (tmp_path / "headrace-run-dead" / "a").write_bytes(bytes(50))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".x.part").write_bytes(bytes(9))
    chores = ChoreRepository(ready)

    await remove_scratch_folders(chores)
    left = BlobStore(tmp_path / "store", max_bytes=1).unfinished()
    await chores.store_findings("unfinished_writes", left)
    report = await build(ready)

    assert (item(report, "scratch_folders").rows, item(report, "scratch_folders").bytes) == (1, 50)
    assert (item(report, "unfinished_writes").rows, item(report, "unfinished_writes").bytes) == (1, 9)
    assert item(report, "unfinished_writes").oldest_at is not None
    assert not (tmp_path / "headrace-run-dead").exists()


async def test_pipelines_with_terms_of_their_own_are_listed(ready: StatementPool) -> None:
    await add_pipeline(ready, "brief", {"succeeded": 7200.0, "failed": "forever"})

    report = await build(ready)

    assert [(keep.pipeline, keep.version, keep.keep) for keep in report.pipelines] == [
        ("brief", 1, {"succeeded": "2h", "failed": "forever"})
    ]


async def test_admins_read_the_report_and_others_do_not(ada: Api, root: Api) -> None:
    refused = await ada.http.get("/api/v1/retention")
    answer = await root.http.get("/api/v1/retention")

    assert refused.status_code == 403
    assert answer.status_code == 200
    names = [listed["name"] for listed in answer.json()["items"]]
    assert names[:4] == ["succeeded_jobs", "failed_jobs", "cancelled_jobs", "pinned_jobs"]
    assert len(names) == len(set(names)) == len(GROWING) + 6
    assert growth.COUNT_BOUND == 10_000
