"""Resolves the pipelines that a submission names, and checks its params against their schemas."""

from collections.abc import Sequence
from typing import Final

from headrace.domain.database import Database
from headrace.domain.heavy_work import TURN_CHARS, HeavyWork
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.jobs.waiting import ServingWorker
from headrace.domain.pipelines.catalogue import CachedPipeline, Catalogue
from headrace.domain.pipelines.service import (
    Fault,
    ParamsInvalidError,
    PipelineNotFoundError,
    PipelineUnknownError,
    check_params_in_turn,
    nearest_other,
)
from headrace.domain.workers.directory import WorkerDirectory

# Finding the nearest of all names takes some milliseconds.
_MAX_ADVICE: Final = 3


class SubmissionResolver:
    """Works on cached pipelines and workers, at most a second old. The statement that stores checks again."""

    def __init__(self, database: Database, heavy_work: HeavyWork) -> None:
        self._heavy_work = heavy_work
        self._catalogue = Catalogue(database)
        self._workers = WorkerDirectory(database)

    async def resolve(
        self, specs: Sequence[JobSpec], sizes: Sequence[int], at: str
    ) -> tuple[list[CachedPipeline], list[ServingWorker]]:
        """Return the pipeline of each spec, and what the live workers serve.

        *sizes* are the characters of the specs' params as JSON.

        Raises:
            PipelineUnknownError, ParamsInvalidError: with every fault of all specs, at the path *at* of each.
        """
        pipelines: list[CachedPipeline] = []
        lookups: dict[tuple[str, int | None], CachedPipeline | None] = {}
        param_faults: list[Fault] = []
        unknown_faults: list[Fault] = []
        chars_in_turn = 0
        for index, (spec, size) in enumerate(zip(specs, sizes, strict=True)):
            version = (spec.pipeline, spec.version)
            if version not in lookups:
                lookups[version] = await self._catalogue.get(*version)
            pipeline = lookups[version]
            path = at.format(index)
            if pipeline is None:
                field = "pipeline" if spec.version is None else "version"
                has_advice = len(unknown_faults) < _MAX_ADVICE
                advice = await self._find_nearest(spec.pipeline) if has_advice else None
                message = str(PipelineNotFoundError(*version, advice))
                unknown_faults.append(Fault(f"{path}.{field}", message))
                continue
            pipelines.append(pipeline)
            chars_in_turn += size
            if chars_in_turn > TURN_CHARS:
                chars_in_turn = 0
                await self._heavy_work.take_turn()
            try:
                await check_params_in_turn(pipeline, spec.params, size, self._heavy_work, at=f"{path}.params")
            except ParamsInvalidError as error:
                param_faults += error.faults
        if unknown_faults:
            raise PipelineUnknownError(unknown_faults + param_faults)
        if param_faults:
            raise ParamsInvalidError(specs[0].pipeline if len(specs) == 1 else "of the batch", param_faults)
        return pipelines, await self._workers.fetch_serving()

    async def _find_nearest(self, name: str) -> str | None:
        return nearest_other(name, await self._catalogue.names())

    def evict(self, specs: Sequence[JobSpec]) -> None:
        """Drop the cached pipelines of *specs*, so that the next submission looks them up."""
        for spec in specs:
            self._catalogue.evict(spec.pipeline, spec.version)
