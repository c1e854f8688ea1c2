"""The series that API and worker processes have in common, in a registry of one process."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.outages import Outage

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BATCH_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Each counter and histogram would have another series for the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]

CountInUse = Callable[[], int]


class ProcessMetrics:
    """The metrics of one process. Its loop writes them; other threads may render them."""

    def __init__(self, lag: LoopLag, scrapes: Scrapes) -> None:
        self.lag = lag
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.scrapes = scrapes
        self._batch_size = Histogram(
            "headrace_batch_size",
            "Changes (worker) or submissions (API) that share a statement.",
            buckets=_BATCH_SIZES,
            registry=self.registry,
        )
        self._rings = Counter(
            "headrace_rings_total",
            "Rings that tell workers of new jobs: sent, failed, claimed (a job was found), in_vain.",
            ("outcome",),
            registry=self.registry,
        )
        self._pool_in_use = Gauge(
            "headrace_pool_in_use",
            "Connections to PostgreSQL that run a statement.",
            ("pool",),
            registry=self.registry,
        )
        loop_lag = Gauge(
            "headrace_loop_lag_seconds",
            "The largest delay of the event loop within the last minute.",
            registry=self.registry,
        )
        loop_lag.set_function(lambda: lag.seconds)

    def watch_pools(self, pools: Mapping[str, CountInUse]) -> None:
        """Export how many connections of each pool are in use."""
        for name, count_in_use in pools.items():
            self._pool_in_use.labels(name).set_function(count_in_use)

    def watch_redis(self, outage: Outage) -> None:
        """Export whether Redis can be used. Without Redis in the settings the series does not exist."""
        redis_up = Gauge(
            "headrace_redis_up", "Whether Redis can be used: 1, or 0 in an outage.", registry=self.registry
        )
        redis_up.set_function(lambda: float(outage.trouble is None))

    def on_batch(self, size: int) -> None:
        """Record how many changes or submissions a statement stores."""
        self._batch_size.observe(size)

    def on_ring(self, outcome: str, count: int = 1) -> None:
        """Record what became of rings."""
        self._rings.labels(outcome).inc(count)

    def render(self) -> bytes:
        """Return all series in the text format of Prometheus."""
        self.scrapes.note()
        return generate_latest(self.registry)
