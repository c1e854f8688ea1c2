"""Connects the metrics of an API process with what they measure."""

import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import uuid4

from headrace.adapters.database import StatementPool
from headrace.adapters.metrics.api_metrics import ApiMetrics
from headrace.adapters.metrics.clock_offset import ClockOffset
from headrace.adapters.metrics.facts_exporter import FactsExporter
from headrace.adapters.outages import Outage


def measuring_loops(
    metrics: ApiMetrics,
    facts_pool: StatementPool,
    in_use: Mapping[str, Callable[[], int]],
    *,
    redis: Outage | None,
) -> list[Coroutine[Any, Any, None]]:
    """Return the loops that measure, which run until cancelled.

    *facts_pool* has a connection for counting. *in_use* counts the connections of each pool. *redis*: None
    without Redis.
    """
    # No other process has this id in the election of the exporter.
    process_id = f"api-{socket.gethostname()[:30]}-{os.getpid()}-{uuid4().hex[:6]}"
    exporter = FactsExporter(facts_pool, process_id, metrics.scrapes)
    offset = ClockOffset(facts_pool, metrics.scrapes)
    metrics.registry.register(exporter)
    metrics.find_offset = lambda: offset.seconds
    metrics.prepare_scrape = exporter.prepare_scrape
    metrics.watch_pools(in_use)
    if redis is not None:
        metrics.watch_redis(redis)
    return [metrics.lag.run(), exporter.run(), offset.run()]
