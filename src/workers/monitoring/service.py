"""Serves the metrics and the probes of a worker process; it may export the facts of PostgreSQL as well."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from headrace.adapters.connection_counts import FACTS_CONNECTIONS
from headrace.adapters.database import StatementPool
from headrace.adapters.metrics.facts_exporter import FACTS_SECONDS, FactsExporter
from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.process_metrics import CONTENT_TYPE
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.outages import Outages
from headrace.adapters.tasks import cancel_and_wait
from headrace.settings import Settings
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.leases import Leases
from headrace.workers.monitoring.health import StartingHealth, WorkerHealth
from headrace.workers.monitoring.metrics import WorkerMetrics
from headrace.workers.monitoring.server import MonitoringPage, MonitoringServer
from headrace.workers.pools import WorkerPools

_JSON: Final = "application/json"


class ProbeAnswer(Struct, omit_defaults=True):
    """The body of a probe: why the worker is not live or ready, and services that are *degraded*."""

    status: str
    reasons: list[str] = []
    degraded: list[str] = []


class WorkerMonitoring:
    """Implements `Monitoring`. It exists before the worker, which reports to its *metrics*."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lag = LoopLag()
        self._scrapes = Scrapes()
        self.metrics = WorkerMetrics(self._lag, self._scrapes)
        self.port: Callable[[], int | None] = lambda: None
        """Returns the port that is open."""
        self._health: StartingHealth | None = None

    @asynccontextmanager
    async def serving(self, pools: WorkerPools, outages: Outages) -> AsyncIterator[None]:
        """Serve for the block. Until `observing` begins, the worker starts: it is live, and not ready."""
        settings, metrics = self._settings, self.metrics
        metrics.watch_pools(pools.in_use())
        if settings.redis is not None:
            metrics.watch_redis(outages.redis)
        self._health = starting = StartingHealth(self._lag, outages)
        server = MonitoringServer(
            settings.worker_host,
            settings.worker_port,
            {
                "/metrics": lambda: MonitoringPage(metrics.render(), CONTENT_TYPE),
                "/health/live": lambda: _answer_live(self._health or starting),
                "/health/ready": lambda: _answer_ready(self._health or starting),
            },
        )
        self._lag.start()
        lag_loop = asyncio.create_task(self._lag.run())
        server.start()
        self.port = lambda: server.port
        try:
            yield
        finally:
            await asyncio.to_thread(server.stop)
            await cancel_and_wait([lag_loop])

    @asynccontextmanager
    async def observing(
        self, worker: HeadraceWorker, leases: Leases, outages: Outages
    ) -> AsyncIterator[None]:
        """Answer for *worker*, which has started, and export facts of PostgreSQL for the block."""
        settings = self._settings
        facts_pool = await StatementPool.open(
            settings.database,
            size=FACTS_CONNECTIONS,
            statement_seconds=FACTS_SECONDS,
            report=outages.postgresql.report,
        )
        exporter = FactsExporter(facts_pool, worker.id, self._scrapes)
        self.metrics.registry.register(exporter)
        self._health = WorkerHealth(
            self._lag, leases, worker, outages, heartbeat_seconds=settings.heartbeat_seconds
        )
        exporting = asyncio.create_task(exporter.run())
        try:
            yield
        finally:
            await cancel_and_wait([exporting])
            await exporter.release()
            await facts_pool.close()


def _answer_live(health: StartingHealth) -> MonitoringPage:
    return _page(ProbeAnswer("ok", health.why_not_live()))


def _answer_ready(health: StartingHealth) -> MonitoringPage:
    return _page(ProbeAnswer("ok", health.why_not_ready(), health.degraded()))


def _page(answer: ProbeAnswer) -> MonitoringPage:
    if answer.reasons:
        answer.status = "unavailable"
        return MonitoringPage(msgspec.json.encode(answer), _JSON, HTTPStatus.SERVICE_UNAVAILABLE)
    if answer.degraded:
        answer.status = "degraded"
    return MonitoringPage(msgspec.json.encode(answer), _JSON)
