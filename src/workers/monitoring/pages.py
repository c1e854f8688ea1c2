"""What a worker shows on its port: metrics and probes. The thread of the server awaits the pages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from headrace.adapters.connection_counts import FACTS_CONNECTIONS
from headrace.adapters.database import StatementPool
from headrace.adapters.metrics.facts_exporter import FACTS_SECONDS, FIRST_SCRAPE_SECONDS, FactsExporter
from headrace.adapters.metrics.process_metrics import CONTENT_TYPE
from headrace.adapters.outages import Outages
from headrace.adapters.tasks import cancel_and_wait
from headrace.settings import Settings
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.leases import Leases
from headrace.workers.monitoring.health import StartingHealth, WorkerHealth
from headrace.workers.monitoring.metrics import WorkerMetrics
from headrace.workers.monitoring.server import MonitoringPage, Pages

_JSON: Final = "application/json"


class ProbeAnswer(Struct, omit_defaults=True):
    """The body of a probe: why the worker is not live or ready, and services that are *degraded*."""

    status: str
    reasons: list[str] = []
    degraded: list[str] = []


class WorkerPages:
    """Implements `StartedMonitoring`. Build it in the loop of the worker."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics, outages: Outages) -> None:
        self._settings = settings
        self._metrics = metrics
        self._outages = outages
        self._loop = asyncio.get_running_loop()
        self._health = StartingHealth(metrics.lag, outages)
        self._exporter: FactsExporter | None = None

    @property
    def by_path(self) -> Pages:
        return {
            "/metrics": self._show_metrics,
            "/health/live": self._answer_live,
            "/health/ready": self._answer_ready,
        }

    @asynccontextmanager
    async def observing(self, worker: HeadraceWorker, leases: Leases) -> AsyncIterator[None]:
        """Answer for *worker*, which has started, and export facts of PostgreSQL for the block."""
        settings, metrics, outages = self._settings, self._metrics, self._outages
        facts_pool = await StatementPool.open(
            settings.database,
            size=FACTS_CONNECTIONS,
            statement_seconds=FACTS_SECONDS,
            report=outages.postgresql.report,
        )
        exporter = FactsExporter(facts_pool, worker.id, metrics.scrapes)
        metrics.registry.register(exporter)
        self._health = WorkerHealth(
            metrics.lag, leases, worker, outages, heartbeat_seconds=settings.heartbeat_seconds
        )
        exporting = asyncio.create_task(exporter.run())
        self._exporter = exporter
        try:
            yield
        finally:
            self._exporter = None
            await cancel_and_wait([exporting])
            await exporter.release()
            await facts_pool.close()

    async def _show_metrics(self) -> MonitoringPage:
        exporter = self._exporter
        if exporter is not None and not exporter.is_prepared:
            # The worker's loop may be blocked: its metrics are shown all the same.
            preparing = asyncio.run_coroutine_threadsafe(exporter.prepare_scrape(), self._loop)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(preparing), FIRST_SCRAPE_SECONDS)
        return MonitoringPage(self._metrics.render(), CONTENT_TYPE)

    async def _answer_live(self) -> MonitoringPage:
        return _page(ProbeAnswer("ok", self._health.why_not_live()))

    async def _answer_ready(self) -> MonitoringPage:
        return _page(ProbeAnswer("ok", self._health.why_not_ready(), self._health.degraded()))


def _page(answer: ProbeAnswer) -> MonitoringPage:
    if answer.reasons:
        answer.status = "unavailable"
        return MonitoringPage(msgspec.json.encode(answer), _JSON, HTTPStatus.SERVICE_UNAVAILABLE)
    if answer.degraded:
        answer.status = "degraded"
    return MonitoringPage(msgspec.json.encode(answer), _JSON)
