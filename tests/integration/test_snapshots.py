"""Snapshots of many jobs are read in few queries, which are bounded. A job's values harm no other job."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.api.live.job_stream import Snapshot
from headrace.api.streams.snapshots import SnapshotLoader
from headrace.domain.accounts.reach import Reach
from headrace.domain.jobs.models import Job
from headrace.domain.jobs.repository import JobRepository
from headrace.domain.omissions import MAX_LISTED_BYTES
from support.lease_driver import OWNER, job_spec, submit

REACH = Reach(OWNER)
# A large result is the output of a step. Those of the previous release are in the job.
SUCCEED = """
UPDATE jobs SET state = 'succeeded', finished_at = now(), result = CAST($2 AS text)::json, result_step = $3
WHERE id = $1
"""
STORE_OUTPUT = """
INSERT INTO step_runs (job_id, key, name, state, attempt, tries, output)
VALUES ($1, 'mix', 'mix', 'succeeded', 1, 1, CAST($2 AS text)::json)
"""
RUN = """
UPDATE jobs SET state = 'running', lease_owner = 'a', lease_expires_at = now() + interval '1 hour',
    progress_steps = CAST($2 AS text)::jsonb
WHERE id = $1
"""


class Reads:
    """Counts the bytes of JSON values that each read of the repository returns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        for name in ("fetch", "fetch_many"):
            monkeypatch.setattr(JobRepository, name, self._counting(getattr(JobRepository, name)))

    def _counting(self, read: Callable[..., Any]) -> Callable[..., Any]:
        async def read_and_count(*arguments: Any) -> Any:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            found = await read(*arguments)
            self.in_flight -= 1
            self.sizes.append(sum(map(_size, found if isinstance(found, list) else [found])))
            return found

        return read_and_count


def _size(job: Job) -> int:
    values = (job.params, job.meta, job.result)
    return sum(memoryview(value).nbytes for value in values if isinstance(value, msgspec.Raw))


async def load_all(engine: AsyncEngine, job_ids: list[UUID]) -> list[Snapshot | BaseException | None]:
    loader = SnapshotLoader(async_sessionmaker(engine, expire_on_commit=False))
    return await asyncio.gather(*(loader.load((REACH, job_id)) for job_id in job_ids), return_exceptions=True)


def job_of(snapshot: Any) -> dict[str, Any]:
    job: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(snapshot.job))
    return job


async def test_large_results_are_read_one_at_a_time(
    database: StatementPool, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [*(3_000_000, 3_000_001, 3_000_002, 100_000), *range(60_000, 60_200)]
    job_ids = await submit(database, *(job_spec() for _ in lengths))
    for job_id, length in zip(job_ids, lengths, strict=True):
        result = msgspec.json.encode("x" * length).decode()
        is_output = length in (3_000_000, 100_000)
        await database.fetch(SUCCEED, job_id, *((None, "mix") if is_output else (result, None)))
        if is_output:
            await database.fetch(STORE_OUTPUT, job_id, result)
    reads = Reads(monkeypatch)

    snapshots = await load_all(engine, job_ids)

    jobs = [job_of(snapshot) for snapshot in snapshots]
    assert [len(job["result"]) for job in jobs] == lengths
    assert not [job for job in jobs if "result_omitted" in job]
    assert max(reads.sizes) < MAX_LISTED_BYTES
    # Each is read with `{}` twice and its quotes.
    assert {length + 6 for length in lengths[:4]} <= set(reads.sizes)
    assert reads.most_in_flight <= 2


async def test_a_job_whose_snapshot_cannot_be_built_fails_only_its_own_watchers(
    database: StatementPool, engine: AsyncEngine
) -> None:
    job_ids = await submit(database, *(job_spec() for _ in range(4)))
    for job_id, progress in zip(job_ids, ["{}", "3", "{}", "{}"], strict=True):
        await database.fetch(RUN, job_id, progress)

    snapshots = await load_all(engine, job_ids)

    assert [isinstance(snapshot, Snapshot) for snapshot in snapshots] == [True, False, True, True]
    assert isinstance(snapshots[1], msgspec.ValidationError)


async def test_a_missing_job_beside_large_ones_has_no_snapshot(
    database: StatementPool, engine: AsyncEngine
) -> None:
    (job_id,) = await submit(database, job_spec())
    await database.fetch(SUCCEED, job_id, msgspec.json.encode("x" * 100_000).decode(), None)

    missing, large = await load_all(engine, [UUID(int=1), job_id])

    assert missing is None
    assert len(job_of(large)["result"]) == 100_000
