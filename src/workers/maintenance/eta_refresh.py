"""What a worker knows of how long steps take: learned from PostgreSQL at its start and every minute."""

import asyncio
import random
from collections.abc import Iterable
from typing import Final

import structlog

from headrace.domain.database import TRANSIENT
from headrace.domain.jobs.eta.estimator import EtaEstimator
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.domain.pipelines.definition import Pipeline
from headrace.domain.pipelines.versions import version_key

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 10.0


class EtaEstimators:
    """One estimator for each pipeline version of this worker, shared by its attempts. `run` is its task."""

    def __init__(self, pipelines: Iterable[Pipeline], repository: StepTimesRepository) -> None:
        self._repository = repository
        self.by_version = {
            version_key(pipeline.name, pipeline.version): EtaEstimator(
                {node.name: node.after for node in pipeline.nodes.values()}
            )
            for pipeline in pipelines
        }

    async def refresh(self) -> None:
        """Take the times of the newest jobs, whoever ran them."""
        times = await self._repository.lately(list(self.by_version))
        for version, estimator in self.by_version.items():
            estimator.times = times.get(version, {})

    async def run(self) -> None:
        """Learn until cancelled."""
        while True:
            pause = _EVERY_SECONDS
            try:
                await self.refresh()
            except TRANSIENT as error:
                _log.warning("times_not_learned", reason=error.reason)
                pause = _AGAIN_SECONDS
            except Exception:  # noqa: BLE001  (jobs run without an ETA, too)
                _log.exception("times_not_learned")
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311
