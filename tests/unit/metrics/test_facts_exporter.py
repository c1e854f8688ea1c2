"""The exporter counts every 15 s while it holds the lease and is scraped; its facts end with the lease."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headrace.adapters.metrics import facts_exporter
from headrace.adapters.metrics.facts_exporter import FactsExporter
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import DatabaseAwayError, TimeLimitError
from headrace.domain.facts.models import DatabaseFacts

FACTS = DatabaseFacts(
    jobs={("queued", "noop"): 3},
    due={"default": 2},
    oldest_due_seconds={"default": 4.5},
    waiting={"no_worker": 1},
    unserved={("noop", "2"): 1},
    workers={"default": 0},
    table_bytes={"jobs": 8192},
    connections=7,
    max_connections=100,
)


class World:
    """The time, and what PostgreSQL answers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.is_holder = True
        self.error: Exception | None = None
        self.counts = 0
        self.scrapes = Scrapes(lambda: self.now)
        database: Any = None  # replaced by the methods below
        self.exporter = FactsExporter(database, "me", self.scrapes, clock=lambda: self.now)
        self.exporter._lease = self  # type: ignore[assignment]
        self.exporter._facts = self  # type: ignore[assignment]

    async def acquire(self) -> bool:
        return self.is_holder

    async def release(self) -> None:
        self.is_holder = False

    async def fetch(self) -> DatabaseFacts:
        self.counts += 1
        if self.error is not None:
            raise self.error
        return FACTS

    async def ticks(self, count: int) -> Iterator[int]:
        return iter([await self.tick() for _ in range(count)])

    async def tick(self) -> int:
        self.now += 5.0
        self.scrapes.note()
        return await self.exporter.tick()


async def test_it_counts_at_each_third_tick() -> None:
    world = World()

    assert list(await world.ticks(7)) == [1, 0, 0, 1, 0, 0, 1]


async def test_it_does_nothing_until_it_is_scraped_and_when_scrapes_have_ended() -> None:
    world = World()
    before = await world.exporter.tick()
    await world.tick()

    world.now += 151.0
    after = await world.exporter.tick()

    assert (before, after, world.counts) == (0, 0, 1)
    assert world.exporter.facts() is None


async def test_the_facts_end_with_the_lease_even_if_nobody_says_so() -> None:
    world = World()
    await world.tick()
    at_once = world.exporter.facts()

    world.now += 15.0

    assert at_once == FACTS
    assert world.exporter.facts() is None


async def test_the_facts_end_when_another_process_has_the_lease_and_when_it_is_released() -> None:
    world = World()
    await world.tick()
    world.is_holder = False
    await world.tick()
    lost = world.exporter.facts()
    world.is_holder = True
    await world.ticks(3)
    regained = world.exporter.facts()

    await world.exporter.release()

    assert (lost, regained, world.exporter.facts(), world.is_holder) == (None, FACTS, None, False)


async def test_facts_from_before_a_lost_lease_do_not_come_back_with_it() -> None:
    world = World()
    await world.tick()
    world.now += 60.0
    world.scrapes.note()
    seen: list[DatabaseFacts | None] = []

    async def fetch_while_looking() -> DatabaseFacts:
        seen.append(world.exporter.facts())
        return FACTS

    world.fetch = fetch_while_looking  # type: ignore[method-assign]
    await world.tick()

    assert seen == [None]
    assert world.exporter.facts() == FACTS


@pytest.mark.parametrize("error", [DatabaseAwayError("x"), TimeLimitError("x")])
async def test_facts_that_could_not_be_counted_are_not_replaced_by_old_ones(error: Exception) -> None:
    world = World()
    await world.tick()
    world.error = error
    await world.ticks(3)
    failed = world.exporter.facts()
    world.error = None

    await world.ticks(3)

    assert (failed, world.exporter.facts()) == (None, FACTS)


async def test_each_fact_is_a_series_and_nothing_is_exported_without_the_lease() -> None:
    world = World()
    registry = CollectorRegistry()
    registry.register(world.exporter)
    without = generate_latest(registry)
    await world.tick()

    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]

    assert without == b""
    assert lines == [
        'headrace_jobs{pipeline="noop",state="queued"} 3.0',
        'headrace_queue_due{queue="default"} 2.0',
        'headrace_queue_oldest_due_seconds{queue="default"} 4.5',
        'headrace_waiting{reason="no_worker"} 1.0',
        'headrace_version_unserved{pipeline="noop",version="2"} 1.0',
        'headrace_workers{queue="default"} 0.0',
        'headrace_table_bytes{table="jobs"} 8192.0',
        "headrace_postgres_connections 7.0",
        "headrace_postgres_max_connections 100.0",
    ]


async def test_the_first_scrape_waits_for_the_count_and_the_next_one_does_not() -> None:
    world = World()
    running = asyncio.create_task(world.exporter.run())
    before = world.exporter.is_prepared
    await asyncio.sleep(0)  # it has found no scrape, and sleeps

    await asyncio.gather(world.exporter.prepare_scrape(), world.exporter.prepare_scrape())
    first = world.exporter.facts()
    await world.exporter.prepare_scrape()
    await cancel_and_wait([running])

    assert (before, world.exporter.is_prepared, world.counts) == (False, True, 1)
    assert first == FACTS


@pytest.mark.parametrize("error", [DatabaseAwayError("refused"), ValueError("a bug")])
async def test_a_first_scrape_goes_on_if_the_election_fails(error: Exception) -> None:
    world = World()

    async def fail() -> bool:
        raise error

    world.acquire = fail  # type: ignore[method-assign]
    running = asyncio.create_task(world.exporter.run())

    await world.exporter.prepare_scrape()
    await cancel_and_wait([running])

    assert world.exporter.facts() is None


async def test_a_first_scrape_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_exporter, "FIRST_SCRAPE_SECONDS", 0.01)
    world = World()

    await world.exporter.prepare_scrape()  # nobody ticks

    assert not world.exporter.is_prepared
