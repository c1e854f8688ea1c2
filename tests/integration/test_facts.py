"""The facts of PostgreSQL: counted within bounds, and exported by one process at a time."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.adapters.metrics.facts_exporter import LEASE, FactsExporter
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.domain.chores.lease import ChoreLease
from headrace.domain.facts import repository
from headrace.domain.facts.models import Lane
from headrace.domain.facts.repository import FactsRepository
from headrace.settings import Settings
from support.harness import register_pipelines

_FILL = """
WITH owner AS (
    INSERT INTO users (id, username, is_admin, created_at, updated_at)
    VALUES (gen_random_uuid(), 'filler', false, now(), now())
    ON CONFLICT (username) DO UPDATE SET updated_at = now() RETURNING id
), wanted AS (
    SELECT now() - $4::interval AS at,
           CASE WHEN $3 = 'queued' THEN now() + $5::interval - $4::interval END AS run_at
)
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  created_at, updated_at, finished_at, losses, attempt)
SELECT gen_random_uuid(), owner.id, $2, 1, $3, '{}', '{}', $6, 5,
       coalesce(run_at, at), greatest(coalesce(run_at, at), at) - interval '300 seconds', at, at,
       CASE WHEN $3 <> 'queued' THEN at END, $7, $8
FROM owner, wanted, generate_series(1, $1)
"""


@pytest.fixture
async def filled(settings: Settings, database: StatementPool) -> StatementPool:
    await register_pipelines(settings)
    return database


async def fill(
    database: StatementPool,
    count: int,
    state: str = "queued",
    *,
    pipeline: str = "noop",
    age: int = 0,
    starts_in: int = 0,
    queue: str = "default",
    losses: int = 0,
    attempt: int = 0,
) -> None:
    intervals = timedelta(seconds=age), timedelta(seconds=starts_in)
    await database.fetch(_FILL, count, pipeline, state, *intervals, queue, losses, attempt)


async def lanes_of(database: StatementPool) -> dict[tuple[str, str, int], Lane]:
    """Return the lanes that have due jobs."""
    lanes = await FactsRepository(database).fetch_lanes()
    return {(lane.queue, lane.pipeline, lane.losses): lane for lane in lanes if lane.due}


async def test_queued_jobs_are_counted_by_queue_pipeline_and_kind(filled: StatementPool) -> None:
    await fill(filled, 3, age=120)
    await fill(filled, 2, starts_in=3600)
    await fill(filled, 4, pipeline="ticks")
    await fill(filled, 5, queue="slow", age=30)
    await fill(filled, 1, queue="slow", losses=2, age=60)

    lanes = await lanes_of(filled)
    facts = await FactsRepository(filled).fetch()

    assert {key: lane.due for key, lane in lanes.items()} == {
        ("default", "noop", 0): 3,
        ("default", "ticks", 0): 4,
        ("slow", "noop", 0): 5,
        ("slow", "noop", 2): 1,
    }
    assert facts.waiting["run_at"] == 2
    assert facts.jobs == {("queued", "noop"): 11, ("queued", "ticks"): 4}
    assert 120 <= (lanes["default", "noop", 0].oldest_due_seconds or 0) < 600
    assert 60 <= (lanes["slow", "noop", 2].oldest_due_seconds or 0) < 600


async def test_the_facts_of_an_empty_database_are_empty(filled: StatementPool) -> None:
    facts = await FactsRepository(filled).fetch()

    assert (facts.jobs, facts.due, facts.waiting, facts.unserved) == ({}, {}, {}, {})
    assert facts.table_bytes["jobs"] > 0
    assert 0 < facts.connections <= facts.max_connections


async def test_jobs_between_two_attempts_are_told_from_delayed_ones(filled: StatementPool) -> None:
    await fill(filled, 2, starts_in=3600, attempt=1)
    await fill(filled, 3, starts_in=3600)

    facts = await FactsRepository(filled).fetch()

    assert facts.waiting == {"backoff": 2, "run_at": 3}
    assert facts.jobs == {("queued", "noop"): 5}


async def test_counts_end_at_a_limit_and_are_estimated_beyond(
    filled: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_MAX_COUNTED_OF_LANE", 10)
    monkeypatch.setattr(repository, "_MIN_COUNTED_OF_LANE", 10)
    await fill(filled, 500, age=5)

    lanes = await lanes_of(filled)
    facts = await FactsRepository(filled).fetch()

    assert lanes["default", "noop", 0].due == 10
    assert facts.due["default"] == 500  # the sample is the whole of a small table


async def test_queues_that_users_invent_do_not_displace_those_that_workers_serve(
    filled: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MAX_LANES", 3)
    for queue in ("a", "b", "c", "default", "e"):
        await fill(filled, 2, queue=queue)
    await filled.fetch(
        "INSERT INTO workers (id, queues, pipelines, concurrency, started_at, last_seen_at)"
        " VALUES ('w', '{default,idle}', '{noop@1}', 50, now(), now())"
    )

    facts = await FactsRepository(filled).fetch()

    assert facts.due == {"default": 2, "idle": 0, "a": 2, "b": 2}


async def test_a_sample_of_a_larger_table_is_close_and_the_same_each_time(filled: StatementPool) -> None:
    await fill(filled, 6_000, "succeeded", age=60)
    repository_of_facts = FactsRepository(filled)

    first, second = [await repository_of_facts.fetch_samples(pages=60) for _ in range(2)]

    assert first == second
    assert 3_000 < sum(sample.count for sample in first) < 9_000
    assert {(sample.state, sample.pipeline) for sample in first} == {("succeeded", "noop")}


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (repository._LANES, (2_000,)),
        (repository._SERVED_LANES, (2_000, ["default", "none"])),
        (repository._LANE_COUNTS, (["default"], ["noop@1"], [False], [0], 100, 100)),
        (repository._SUSPECTS, (100,)),
        (repository._BACKING_OFF, (100,)),
        (repository._RUNNING, (100,)),
    ],
)
async def test_no_statement_reads_the_whole_table(
    filled: StatementPool, statement: str, arguments: tuple[Any, ...]
) -> None:
    await fill(filled, 3_000, "succeeded", age=60)
    await fill(filled, 50)
    await filled.fetch("ANALYZE jobs")

    rows = await filled.fetch(f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {statement}", *arguments)

    assert "Seq Scan" not in rows[0]["QUERY PLAN"]


async def test_the_lease_is_held_by_one_process_until_it_ends(filled: StatementPool) -> None:
    first, second = (ChoreLease(filled, name, "export_facts", LEASE) for name in ("first", "second"))

    assert await first.acquire()
    assert not await second.acquire()
    assert await first.acquire()
    await filled.fetch("UPDATE chores SET succeeded_at = now() - $1::interval", LEASE)
    assert await second.acquire()
    assert not await first.acquire()


async def test_a_lease_that_is_given_up_is_free_at_once(filled: StatementPool) -> None:
    first, second = (ChoreLease(filled, name, "export_facts", LEASE) for name in ("first", "second"))
    await first.acquire()
    await second.release()  # it does not hold it
    held = await second.acquire()

    await first.release()

    assert (held, await second.acquire()) == (False, True)


async def test_another_process_exports_within_30_seconds_after_the_death_of_the_first(
    filled: StatementPool,
) -> None:
    """The clocks of the processes are set; PostgreSQL's row ages with them."""
    now = 1000.0
    exporters = []
    for name in ("first", "second"):
        scrapes = Scrapes(lambda: now)
        scrapes.note()
        exporters.append(FactsExporter(filled, name, scrapes, clock=lambda: now))
    first, second = exporters
    await first.tick()
    await second.tick()
    before = first.facts() is not None, second.facts() is not None

    seconds = 0.0
    while second.facts() is None and seconds < 60.0:
        seconds += 5.0
        now += 5.0
        await filled.fetch("UPDATE chores SET succeeded_at = succeeded_at - interval '5 seconds'")
        await second.tick()

    assert before == (True, False)
    assert 15.0 <= seconds <= 30.0
    assert first.facts() is None


async def test_exporters_take_no_part_while_postgresql_refuses_the_lease(filled: StatementPool) -> None:
    scrapes = Scrapes()
    scrapes.note()
    exporter = FactsExporter(filled, "first", scrapes)
    await exporter.tick()
    await filled.fetch("ALTER TABLE chores RENAME TO other_chores")

    with pytest.raises(asyncpg.UndefinedTableError):  # `run` logs it
        await exporter.tick()
