"""Whether a worker is alive and may claim jobs, from what the process knows: no query, no new process."""

from typing import Final

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.outages import Outages
from headrace.workers.arq_worker import HeadraceWorker
from headrace.workers.leases import Leases

_MAX_SILENT_SECONDS: Final = 5.0
_SPARE_SECONDS: Final = 5.0


class StartingHealth:
    """Answers the probes of a worker that starts. Any thread may call it.

    The worker is live while its loop runs, however long it waits for PostgreSQL, and not ready.
    """

    def __init__(self, lag: LoopLag, outages: Outages) -> None:
        self._lag = lag
        self._outages = outages

    def why_not_live(self) -> list[str]:
        """Return the reasons why the process should be restarted; none if it is live."""
        silent = self._lag.silent_seconds
        return [f"the event loop has not run for {silent:.0f} s"] if silent > _MAX_SILENT_SECONDS else []

    def why_not_ready(self) -> list[str]:
        """Return the reasons why the worker claims no jobs; none if it may."""
        reasons = [*self.why_not_live(), *self._why_not_claiming()]
        if (trouble := self._outages.postgresql.trouble) is not None:
            reasons.append(trouble.entry("postgresql"))
        return reasons

    def degraded(self) -> list[str]:
        """Return the services without which the worker still claims jobs."""
        outages = (self._outages.redis, self._outages.storage)
        return [outage.trouble.entry(outage.service) for outage in outages if outage.trouble is not None]

    def _why_not_claiming(self) -> list[str]:
        return ["the worker is starting"]


class WorkerHealth(StartingHealth):
    """Answers the probes of a worker that has started, also while the event loop is blocked.

    A worker is live when its loop ran within 5 s and its last heartbeat was answered, or PostgreSQL is known
    to be away: an outage of PostgreSQL must not make an orchestrator restart all workers.
    """

    def __init__(
        self,
        lag: LoopLag,
        leases: Leases,
        worker: HeadraceWorker,
        outages: Outages,
        *,
        heartbeat_seconds: float,
    ) -> None:
        super().__init__(lag, outages)
        self._leases = leases
        self._worker = worker
        # A heartbeat comes late, and its answer takes a moment.
        self._max_beat_age = 2 * heartbeat_seconds + _SPARE_SECONDS

    def why_not_live(self) -> list[str]:
        reasons = super().why_not_live()
        age = self._leases.seconds_since_beat
        if age > self._max_beat_age and self._outages.postgresql.trouble is None:
            reasons.append(f"no heartbeat was answered for {age:.0f} s")
        return reasons

    def _why_not_claiming(self) -> list[str]:
        reasons = []
        if self._worker.stopping.is_set:
            reasons.append("the worker stops")
        if self._worker.has_too_many_abandoned:
            reasons.append("too many abandoned steps still run")
        return reasons
