"""The metrics of an API process."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from prometheus_client import Counter, Histogram

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.process_metrics import ProcessMetrics
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.domain.events.encoding import LoggedEvent, time_of

UNMATCHED: Final = "unmatched"
"""The route of requests to paths that do not exist."""
_EVENT_LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REQUEST_TIMES: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class ApiMetrics(ProcessMetrics):
    """Counts requests, and measures how long events take from their commit to the sockets."""

    def __init__(self, lag: LoopLag, scrapes: Scrapes, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(lag, scrapes)
        self._clock = clock
        self.find_offset: Callable[[], float | None] = lambda: None
        """Returns by how many seconds PostgreSQL's clock is ahead of *clock*; None while that is unknown."""
        self.prepare_scrape: Callable[[], Awaitable[None]] = _prepare_nothing
        """Waits a moment for what the first scrape needs."""
        self._requests = Counter(
            "headrace_http_requests_total",
            "HTTP requests by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "headrace_http_request_seconds",
            "From an HTTP request to the start of its response.",
            ("route",),
            buckets=_REQUEST_TIMES,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._event_latency = Histogram(
            "headrace_event_latency_seconds",
            "From the commit of an event to its way into the sockets of its watchers.",
            buckets=_EVENT_LATENCIES,
            registry=self.registry,
        )
        self._stream_repairs = Counter(
            "headrace_stream_repairs_total",
            "Gaps in the news of a watched job that were filled from PostgreSQL.",
            registry=self.registry,
        )

    def on_response(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Record that a response starts. *route*: the template of the path, None for unknown paths."""
        key = (method, route or UNMATCHED, status)
        series = self._series.get(key)
        if series is None:
            if method not in _METHODS:  # a caller may send any word
                key = ("other", *key[1:])
            counter = self._requests.labels(*key)
            series = self._series[key] = (counter, self._request_seconds.labels(key[1]))
        series[0].inc()
        series[1].observe(seconds)

    def on_events(self, events: Sequence[LoggedEvent]) -> None:
        """Record that new *events* of a job were passed to its watchers."""
        offset = self.find_offset()
        if offset is not None and events:
            committed_at = time_of(events[-1].frame).timestamp()
            self._event_latency.observe(max(self._clock() + offset - committed_at, 0.0))

    def on_repair(self) -> None:
        """Record that a gap was filled."""
        self._stream_repairs.inc()


async def _prepare_nothing() -> None:
    """Return at once: nothing is measured yet."""
