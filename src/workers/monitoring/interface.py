"""What a worker knows of its monitoring.

Only a worker that serves it imports the rest, whose library takes a part of the start.
"""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, Protocol

from msgspec import Struct

from headrace.adapters.outages import Outages
from headrace.adapters.tracing.tracing import Tracing
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.leases import Leases
from headrace.workers.monitor import Monitor
from headrace.workers.pools import WorkerPools


class Monitoring(Protocol):
    """Serves the metrics and the probes of one worker process."""

    @property
    def metrics(self) -> Monitor:
        """The receiver of the worker's reports."""

    def serving(
        self, pools: WorkerPools, outages: Outages
    ) -> AbstractAsyncContextManager["StartedMonitoring"]:
        """Serve for the block. Until `observing` begins, the worker starts: it is live, and not ready."""


class StartedMonitoring(Protocol):
    """Metrics and probes that are served already."""

    def observing(self, worker: HeadraceWorker, leases: Leases) -> AbstractAsyncContextManager[None]:
        """Answer for *worker*, which has started, and export facts of PostgreSQL for the block."""


class Instruments(Struct, frozen=True):
    """What observes a worker: its metrics and probes, and the spans of its jobs."""

    monitoring: Monitoring | None = None
    tracing: Tracing | None = None

    @property
    def monitor(self) -> Monitor | None:
        return None if self.monitoring is None else self.monitoring.metrics


NO_INSTRUMENTS: Final = Instruments()


def serving(
    monitoring: Monitoring | None, pools: WorkerPools, outages: Outages
) -> AbstractAsyncContextManager[StartedMonitoring | None]:
    """Serve *monitoring* for the block, if the worker has one."""
    return nullcontext() if monitoring is None else monitoring.serving(pools, outages)


def observing(
    started: StartedMonitoring | None, worker: HeadraceWorker, leases: Leases
) -> AbstractAsyncContextManager[None]:
    """Have the monitoring answer for *worker* for the block, if the worker has one."""
    return nullcontext() if started is None else started.observing(worker, leases)
