"""What the pruner removes, and what it keeps."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.retention.job_rule import JobRule
from headrace.domain.retention.rule import Batch
from headrace.domain.retention.terms import ChosenTerms, RetentionTerms
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner
from support.retention import (
    add_files,
    add_jobs,
    add_pipeline,
    count_orphans,
    count_rows,
    new_pruner,
)

NOW = datetime(2030, 5, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    """A new installation with a pipeline."""
    await add_pipeline(database)
    return database


async def job_ids(database: StatementPool) -> set[object]:
    return {row["id"] for row in await database.fetch("SELECT id FROM jobs")}


async def test_jobs_are_kept_as_long_as_the_defaults_say_for_the_state_in_which_they_ended(
    ready: StatementPool,
) -> None:
    kept = set()
    for state, days in (("succeeded", 30), ("failed", 90), ("cancelled", 14)):
        await add_jobs(ready, NOW - days * DAY - timedelta(seconds=1), state=state)
        kept |= {*await add_jobs(ready, NOW - days * DAY, state=state)}

    removed = await new_pruner(ready, NOW).run_now()

    assert removed is not None
    assert removed["jobs"] == 3
    assert await job_ids(ready) == kept
    assert await count_orphans(ready) == dict.fromkeys(("job_changes", "step_runs", "job_tags", "files"), 0)
    assert (await count_rows(ready))["job_changes"] == 6


async def test_unfinished_and_pinned_jobs_are_never_pruned(ready: StatementPool) -> None:
    long_ago = NOW - 1000 * DAY
    queued = await add_jobs(ready, long_ago, state="queued")
    pinned = await add_jobs(ready, long_ago, 3, keep=True)
    await add_jobs(ready, long_ago, 2)

    await new_pruner(ready, NOW).run_now()

    assert await job_ids(ready) == {*queued, *pinned}


async def test_a_pipeline_keeps_its_jobs_as_long_as_it_says_itself(ready: StatementPool) -> None:
    await add_pipeline(ready, "brief", {"succeeded": 7200.0})
    await add_pipeline(ready, "lasting", {"succeeded": "forever"})
    await add_jobs(ready, NOW - timedelta(hours=3), pipeline="brief")
    kept = {
        *await add_jobs(ready, NOW - timedelta(hours=1), pipeline="brief"),
        *await add_jobs(ready, NOW - timedelta(hours=3), pipeline="brief", state="failed"),
        *await add_jobs(ready, NOW - 1000 * DAY, pipeline="lasting"),
        *await add_jobs(ready, NOW - timedelta(hours=3)),
    }
    await add_jobs(ready, NOW - 1000 * DAY, pipeline="lasting", state="failed")

    await new_pruner(ready, NOW).run_now()

    assert await job_ids(ready) == kept


async def test_an_installation_that_had_jobs_keeps_everything_that_no_setting_names(
    ready: StatementPool,
) -> None:
    await ready.fetch("UPDATE installations SET keeps_everything = true")
    kept = await add_jobs(ready, NOW - 1000 * DAY)
    await add_jobs(ready, NOW - 3 * DAY, state="failed")

    await new_pruner(ready, NOW, failed=2 * DAY).run_now()

    assert await job_ids(ready) == {*kept}


async def test_a_job_that_somebody_holds_is_pruned_later(ready: StatementPool, database_url: str) -> None:
    (held, *_) = await add_jobs(ready, NOW - 40 * DAY, 3)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", held)
            await new_pruner(ready, NOW).run_now()
            assert await job_ids(ready) == {held}
    finally:
        await connection.close()
    await new_pruner(ready, NOW).run_now()

    assert await job_ids(ready) == set()


async def test_a_job_that_is_pinned_or_retried_while_it_is_locked_is_kept(
    ready: StatementPool, database_url: str
) -> None:
    pinned, retried = await add_jobs(ready, NOW - 100 * DAY, 2, state="failed")
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("UPDATE jobs SET keep = true WHERE id = $1", pinned)
            await connection.execute(
                "UPDATE jobs SET state = 'queued', finished_at = NULL WHERE id = $1", retried
            )
            await new_pruner(ready, NOW).run_now()
    finally:
        await connection.close()
    await new_pruner(ready, NOW).run_now()

    assert await job_ids(ready) == {pinned, retried}


async def test_jobs_with_very_long_histories_are_pruned_few_at_a_time(ready: StatementPool) -> None:
    await add_jobs(ready, NOW - 40 * DAY, 5)
    await ready.fetch("UPDATE jobs SET event_seq = 15000")

    removed = await new_pruner(ready, NOW).run_now()

    assert removed is not None
    assert removed["jobs"] == 5


async def test_only_one_worker_at_a_time_prunes_and_another_takes_over_when_it_is_gone(
    ready: StatementPool,
) -> None:
    await add_jobs(ready, NOW - 40 * DAY)
    await ready.fetch(
        "INSERT INTO chores (name, position, succeeded_at) VALUES ('retention', 'other', now())"
    )

    while_it_lives = await new_pruner(ready, NOW).run_now()
    await ready.fetch("UPDATE chores SET succeeded_at = now() - interval '1 minute' WHERE name = 'retention'")
    afterwards = await new_pruner(ready, NOW).run_now()

    assert while_it_lives is None
    assert afterwards is not None
    assert afterwards["jobs"] == 1


async def test_rules_run_when_they_are_due(ready: StatementPool) -> None:
    pruner = new_pruner(ready, NOW)
    await pruner.run_due()
    await add_jobs(ready, NOW - 40 * DAY)

    at_once = await pruner.run_due()
    await ready.fetch("UPDATE chores SET next_run_at = now() - interval '1 second' WHERE name = 'jobs'")
    when_due = await pruner.run_due()

    assert (at_once, when_due) == (0, 1)


async def test_pruners_of_many_workers_at_once_remove_each_job_once(ready: StatementPool) -> None:
    await add_jobs(ready, NOW - 40 * DAY, 50)

    results = await asyncio.gather(
        *(new_pruner(ready, NOW, holder=f"w{number}").run_now() for number in range(4))
    )

    assert sum(removed["jobs"] for removed in results if removed is not None) == 50
    assert await job_ids(ready) == set()


async def test_files_are_kept_with_their_jobs_and_uploads_forever_by_default(ready: StatementPool) -> None:
    (job,) = await add_jobs(ready, NOW - 40 * DAY)
    (kept,) = await add_jobs(ready, NOW - 20 * DAY)
    gone, of_kept, upload = await add_files(ready, NOW - 40 * DAY, job, kept, None)

    await new_pruner(ready, NOW).run_now()

    assert {row["id"] for row in await ready.fetch("SELECT id FROM files")} == {of_kept, upload}
    assert [row["file_id"] for row in await ready.fetch("SELECT file_id FROM blob_removals")] == [gone]


async def test_old_files_are_removed_but_those_that_are_in_use(ready: StatementPool) -> None:
    (ended,) = await add_jobs(ready, NOW - 12 * DAY)
    (pinned,) = await add_jobs(ready, NOW - 12 * DAY, keep=True)
    (queued,) = await add_jobs(ready, NOW - 12 * DAY, state="queued")
    old = NOW - 12 * DAY
    _, of_pinned, of_queued, _, of_params, of_preset = await add_files(
        ready, old, ended, pinned, queued, None, None, None
    )
    (young,) = await add_files(ready, NOW - 9 * DAY, None)
    await ready.fetch(
        "UPDATE jobs SET params = json_build_object('track', upper($2::text)) WHERE id = $1",
        *(queued, str(of_params)),
    )
    await ready.fetch(
        "INSERT INTO presets (id, owner_id, title, pipeline, params, created_at, updated_at)"
        " SELECT gen_random_uuid(), owner_id, 't', 'noop',"
        " json_build_object('a', json_build_array($1::text)), now(), now() FROM jobs LIMIT 1",
        str(of_preset),
    )

    pruner = new_pruner(ready, NOW, files=10 * DAY)
    counted = await pruner.count()
    removed = await pruner.run_now()

    assert removed is not None
    assert (counted["files"], removed["files"]) == (2, 2)
    left = {row["id"] for row in await ready.fetch("SELECT id FROM files")}
    assert left == {of_pinned, of_queued, of_params, of_preset, young}


@pytest.mark.parametrize("spelling", ["{0}", "{0.hex}"], ids=["hyphens", "hex"])
async def test_files_that_an_unfinished_job_names_are_kept_however_it_spells_their_ids(
    ready: StatementPool, spelling: str
) -> None:
    old = NOW - 12 * DAY
    (ended,) = await add_jobs(ready, old)
    (queued,) = await add_jobs(ready, NOW, state="queued")
    output, upload, _ = await add_files(ready, old, ended, None, ended)
    await ready.fetch(
        "UPDATE jobs SET params = json_build_object('files', json_build_array($2::text, $3::text))"
        " WHERE id = $1",
        *(queued, spelling.format(output), spelling.format(upload)),
    )
    pruner = new_pruner(ready, NOW, files=10 * DAY)

    counted = await pruner.count()
    removed = await pruner.run_now()

    assert removed is not None
    assert (counted["files"], removed["files"]) == (1, 1)
    assert {row["id"] for row in await ready.fetch("SELECT id FROM files")} == {output, upload}


async def test_a_dry_run_counts_what_a_pass_removes(ready: StatementPool) -> None:
    await add_jobs(ready, NOW - 40 * DAY, 3)
    await add_jobs(ready, NOW - 20 * DAY, 2, state="cancelled")
    await add_jobs(ready, NOW)
    pruner = new_pruner(ready, NOW)

    counted = await pruner.count()
    removed = await pruner.run_now()

    assert removed is not None
    assert counted["jobs"] == removed["jobs"] == 5
    assert set(counted) == {rule.name for rule in await pruner.rules()}


async def test_a_pruner_that_loses_its_turn_stops(ready: StatementPool) -> None:
    await add_jobs(ready, NOW - 40 * DAY, 500)
    times = iter(range(0, 100_000, 25))

    async def lose_turn(_: float) -> None:
        taken = "UPDATE chores SET position = 'other', succeeded_at = now() WHERE name = 'retention'"
        await ready.fetch(taken)

    async def now() -> datetime:
        return NOW

    pruner = Pruner(
        ready,
        ChosenTerms(),
        "w",
        pace=PrunePace(),
        now=now,
        clock=lambda: float(next(times)),
        sleep=lose_turn,
    )
    removed = await pruner.run_now({"jobs"})

    assert removed is not None
    assert 0 < removed["jobs"] < 500
    assert pruner.failures == {"turn": "another worker has taken over"}
    assert await ready.fetch("SELECT FROM chore_failures") == []
    (chore,) = await ready.fetch("SELECT next_run_at <= now() AS is_due FROM chores WHERE name = 'jobs'")
    assert chore["is_due"]


async def test_a_failure_of_one_worker_is_over_when_another_succeeds(ready: StatementPool) -> None:
    await ready.fetch("ALTER TABLE login_sessions RENAME TO other_sessions")
    failing = new_pruner(ready, NOW, holder="w1")
    await failing.run_now({"login_sessions"})
    during = await ready.fetch("SELECT worker_id, name FROM chore_failures")
    await ready.fetch("ALTER TABLE other_sessions RENAME TO login_sessions")

    await new_pruner(ready, NOW, holder="w2").run_now({"login_sessions"})

    assert list(failing.failures) == ["login_sessions"]
    assert [(row["worker_id"], row["name"]) for row in during] == [("w1", "login_sessions")]
    assert await ready.fetch("SELECT FROM chore_failures") == []


async def test_a_term_that_became_longer_counts_in_the_next_pass(ready: StatementPool) -> None:
    await add_pipeline(ready, "brief", {"succeeded": 3600.0})
    await add_jobs(ready, NOW - DAY, 3, pipeline="brief")
    rule = JobRule(ready, RetentionTerms())
    first = await rule.prune(NOW, 1)
    await add_pipeline(ready, "brief", {"succeeded": "forever"})

    later = await rule.prune(NOW + timedelta(minutes=1), 1)

    assert (first, later) == (Batch(1, is_last=False), Batch(0, is_last=True))
