"""Keeps the ETA estimators of a worker up to date: loads step times at the start and every minute."""

from collections.abc import Iterable
from typing import Final

from headrace.adapters.periodic import run_every
from headrace.domain.jobs.eta.estimator import EtaEstimator
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.domain.pipelines.definition import Pipeline
from headrace.domain.pipelines.versions import version_key

_PERIOD_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 10.0


class EtaEstimators:
    """One estimator for each pipeline version that this worker runs, shared by its attempts."""

    def __init__(self, pipelines: Iterable[Pipeline], repository: StepTimesRepository) -> None:
        self._repository = repository
        self.by_version = {
            version_key(pipeline.name, pipeline.version): EtaEstimator(
                {node.name: node.after for node in pipeline.nodes.values()}
            )
            for pipeline in pipelines
        }

    async def run(self) -> None:
        """Refresh now and every minute, until cancelled. Jobs run without an ETA while this fails."""
        await run_every(
            _PERIOD_SECONDS,
            self.refresh,
            waits_first=False,
            retry_seconds=_RETRY_SECONDS,
            put_off_event="times_not_learned",
            failed_event="times_not_learned",
        )

    async def refresh(self) -> int:
        """Load the step times of the newest jobs of all workers; return how many versions have any."""
        times = await self._repository.fetch(list(self.by_version))
        for version, estimator in self.by_version.items():
            estimator.times = times.get(version, {})
        return len(times)
