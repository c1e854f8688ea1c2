"""Serves the metrics and the probes of a worker process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.outages import Outages
from headrace.adapters.tasks import cancel_and_wait
from headrace.settings import Settings
from headrace.workers.monitoring.metrics import WorkerMetrics
from headrace.workers.monitoring.pages import WorkerPages
from headrace.workers.monitoring.server import MonitoringServer
from headrace.workers.pools import WorkerPools


class WorkerMonitoring:
    """Implements `Monitoring`. It exists before the worker, which reports to its *metrics*."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lag = LoopLag()
        self.metrics = WorkerMetrics(self._lag, Scrapes())
        self.port: Callable[[], int | None] = lambda: None
        """Returns the port that is open."""

    @asynccontextmanager
    async def serving(self, pools: WorkerPools, outages: Outages) -> AsyncIterator[WorkerPages]:
        """Serve for the block. Until `observing` begins, the worker starts: it is live, and not ready."""
        settings, metrics = self._settings, self.metrics
        metrics.watch_pools(pools.in_use())
        if settings.redis is not None:
            metrics.watch_redis(outages.redis)
        pages = WorkerPages(settings, metrics, outages)
        server = MonitoringServer(settings.worker_host, settings.worker_port, pages.by_path)
        self._lag.start()
        lag_loop = asyncio.create_task(self._lag.run())
        server.start()
        self.port = lambda: server.port
        try:
            yield pages
        finally:
            await asyncio.to_thread(server.stop)
            await cancel_and_wait([lag_loop])
