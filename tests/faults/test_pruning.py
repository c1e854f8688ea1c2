"""A pruner that is killed at any moment leaves no row without its job, and no bytes without an end."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from faults.form import seeded_random
from faults.stored_files import assert_files_kept
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.patience import PATIENCE_SECONDS, until_async
from support.retention import add_files, add_jobs, add_pipeline, count_orphans

PRUNING = Path(__file__).with_name("pruning.py")
POINTS = 20
JOBS = 1_200
LONG_AGO = datetime.now(UTC) - timedelta(days=3)


async def store_jobs(database: StatementPool, blobs: BlobStore) -> set[UUID]:
    """Store ended jobs with a file each, and as many uploads, with bytes. Return the ids of the files."""
    jobs = await add_jobs(database, LONG_AGO, JOBS)
    await add_files(database, LONG_AGO, *jobs, *[None] * JOBS)
    rows = await database.fetch("SELECT id, blob_key FROM files")
    for row in rows:
        path = blobs.path(row["id"], row["blob_key"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    return {row["id"] for row in rows}


async def killed_after(url: str, rule: str, statements: int, seconds: float) -> bool:
    """Prune in a process that is killed within one of its statements, or after it.

    Return whether it had not ended by itself.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PRUNING), url, rule, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n" * (statements - 1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(statements - 1):
            await process.stdout.readline()
        process.stdin.write(b"\n")
        await asyncio.sleep(seconds)
        if process.returncode is None:
            process.kill()
        await process.communicate()
    return process.returncode != 0


async def assert_nothing_is_half_done(database: StatementPool, files: set[UUID]) -> int:
    """Assert that each job is there with all that belongs to it, or gone; return the number of jobs."""
    # PostgreSQL ends the statement of a killed client, or commits it, a moment later.
    await until_async(lambda: is_alone(database), lambda: "a statement of a killed pruner goes on")
    assert not any((await count_orphans(database)).values())
    (whole,) = await database.fetch(
        "SELECT count(*)::int AS jobs, count(*) FILTER (WHERE"
        " (SELECT count(*) FROM job_changes c WHERE c.job_id = j.id) = 2"
        " AND (SELECT count(*) FROM step_runs s WHERE s.job_id = j.id) = 1)::int AS complete FROM jobs j"
    )
    assert whole["complete"] == whole["jobs"]
    named = {row["id"] for row in await database.fetch("SELECT id FROM files")}
    noted = {row["file_id"] for row in await database.fetch("SELECT file_id FROM blob_removals")}
    assert named | noted == files
    assert named & noted == set()
    jobs: int = whole["jobs"]
    return jobs


async def is_alone(database: StatementPool) -> bool:
    rows = await database.fetch(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state <> 'idle'"
    )
    return not rows


async def test_a_pruner_that_is_killed_at_twenty_points_leaves_no_orphan(
    settings: Settings, database: StatementPool
) -> None:
    random_source = seeded_random()
    blobs = BlobStore(settings.blob_dir, max_bytes=1_000_000)
    await add_pipeline(database)
    files = await store_jobs(database, blobs)
    kills, left = 0, []

    for point in range(POINTS):
        # The first statements ask for the turn and the terms; those that remove follow.
        statements, seconds = random_source.randint(6, 16), random_source.uniform(0, 0.005)
        rule = "jobs" if point % 2 else "files"
        kills += await killed_after(str(settings.database_url), rule, statements, seconds)
        left.append(await assert_nothing_is_half_done(database, files))
        await database.fetch("UPDATE chores SET succeeded_at = NULL WHERE name = 'retention'")

    assert kills == POINTS
    assert left[-1] < JOBS
    assert len(await database.fetch("SELECT FROM files WHERE job_id IS NULL")) < JOBS
    assert await assert_files_kept(database, settings) < 2 * JOBS
