"""Exports the facts of PostgreSQL from one of all processes, while somebody scrapes it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.periodic import run_every
from headrace.domain.chores.lease import ChoreLease
from headrace.domain.database import TRANSIENT, Database
from headrace.domain.facts.limits import FactsLimit
from headrace.domain.facts.models import DatabaseFacts
from headrace.domain.facts.repository import FactsRepository

_log = structlog.get_logger(__name__)

FACTS_SECONDS: Final = 3.0
"""How long a statement that counts may take. Each reads a bounded number of rows."""
FIRST_SCRAPE_SECONDS: Final = 3.0
"""How long the first scrape of a process waits for the facts. Prometheus waits 10 s for a scrape."""
LEASE: Final = timedelta(seconds=15)
_TICK_SECONDS: Final = 5.0
_PERIOD_SECONDS: Final = 15.0


class FactsExporter(Collector):
    """Holds the newest facts of PostgreSQL if this process is the elected exporter. `run` is its task.

    Only a process that is scraped is a candidate: the facts of another one would be seen by nobody. They end
    with its lease, so that no two processes export them at a time, whatever the network does.
    """

    def __init__(
        self,
        database: Database,
        candidate: str,
        scrapes: Scrapes,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*candidate*: the id of this process in the election."""
        self._facts = FactsRepository(database)
        self._lease = ChoreLease(database, candidate, "export_facts", LEASE)
        self._limit = FactsLimit()
        self._scrapes = scrapes
        self._clock = clock
        self._held_until = float("-inf")
        self._collected_at = float("-inf")
        self._newest: DatabaseFacts | None = None
        self._has_failed = False
        self._is_wanted = asyncio.Event()
        self._has_ticked = asyncio.Event()
        self._has_ticked.set()

    async def run(self) -> None:
        """Take part in the election and count, until cancelled."""
        await run_every(
            _TICK_SECONDS,
            self._tick_for_scrapes,
            jitter=0.1,
            waits_first=False,
            failed_event="facts_not_exported",
            sleep=self._sleep,
        )

    @property
    def is_prepared(self) -> bool:
        """Whether `prepare_scrape` has nothing to wait for. Other threads may ask."""
        return self._scrapes.are_recent and self._has_ticked.is_set()

    async def prepare_scrape(self) -> None:
        """Have `run` tick before the first scrape in a while, so that it has the facts already.

        After 3 s the scrape goes on without them.
        """
        if not self._scrapes.are_recent:
            self._scrapes.note()
            self._has_ticked.clear()
            self._is_wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SCRAPE_SECONDS):
                await self._has_ticked.wait()

    async def _tick_for_scrapes(self) -> int:
        try:
            return await self.tick()
        finally:
            self._has_ticked.set()

    async def _sleep(self, seconds: float) -> None:
        """Wait for the next tick, which `prepare_scrape` may bring forward."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_wanted.wait()
        self._is_wanted.clear()

    async def tick(self) -> int:
        """Take or renew the lease, and count if it is time; return 1 if it was."""
        if not self._scrapes.are_recent:
            return 0
        began = self._clock()
        if began >= self._held_until:
            # If the lease comes back, facts from before must not.
            self._newest, self._collected_at = None, float("-inf")
        if not await self._lease.acquire():
            self._held_until = float("-inf")
            return 0
        # PostgreSQL has counted the lease from a later moment.
        self._held_until = began + LEASE.total_seconds()
        if began - self._collected_at < _PERIOD_SECONDS - _TICK_SECONDS / 2:
            return 0
        self._collected_at = began
        await self._collect()
        return 1

    async def _collect(self) -> None:
        try:
            self._newest = self._limit.apply(await self._facts.fetch())
            self._has_failed = False
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            # Old facts would look like new ones.
            self._newest = None
            if not self._has_failed:
                _log.warning("facts_not_counted", reason=str(error))
            self._has_failed = True

    async def release(self) -> None:
        """Give up the lease when the process ends."""
        if self._clock() < self._held_until:
            self._held_until = float("-inf")
            with contextlib.suppress(*TRANSIENT, asyncpg.PostgresError):
                await self._lease.release()

    def facts(self) -> DatabaseFacts | None:
        """Return the newest facts, or None if another process exports them."""
        return self._newest if self._clock() < self._held_until else None

    def describe(self) -> list[Metric]:
        """Return nothing, so that the registry does not collect when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the facts as series. Each series exists while its thing does."""
        facts = self.facts()
        if facts is None:
            return
        yield _gauge("headrace_jobs", "Jobs by state and pipeline.", ("state", "pipeline"), facts.jobs)
        yield _gauge("headrace_queue_due", "Queued jobs that could start now.", ("queue",), facts.due)
        yield _gauge(
            "headrace_queue_oldest_due_seconds",
            "How long the oldest of these jobs has been due.",
            ("queue",),
            facts.oldest_due_seconds,
        )
        yield _gauge("headrace_waiting", "Queued jobs by why they wait.", ("reason",), facts.waiting)
        yield _gauge(
            "headrace_version_unserved",
            "Due jobs of a pipeline version that no live worker of their queue serves.",
            ("pipeline", "version"),
            facts.unserved,
        )
        yield _gauge("headrace_workers", "Live workers of each queue.", ("queue",), facts.workers)
        yield _gauge(
            "headrace_table_bytes", "Size of a table with its indexes.", ("table",), facts.table_bytes
        )
        yield _single(
            "headrace_postgres_connections", "Connections to PostgreSQL, of all users.", facts.connections
        )
        yield _single(
            "headrace_postgres_max_connections", "`max_connections` of PostgreSQL.", facts.max_connections
        )


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([key] if isinstance(key, str) else [str(part) for part in key], value)
    return family


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
