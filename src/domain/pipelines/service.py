"""The use cases of pipelines: clients read them, and submissions are validated against their schemas."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from headrace.domain.base import Session, database_now
from headrace.domain.errors import HeadraceError
from headrace.domain.heavy_work import HeavyWork
from headrace.domain.pipelines.catalogue import CachedPipeline
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.repository import PipelineRepository
from headrace.domain.pipelines.validator import ParamsValidator
from headrace.domain.pipelines.versions import version_key
from headrace.domain.spelling import nearest

MAX_LOOP_PARAMS: Final = 16 * 1024
"""Checking params of more characters against a schema can take many milliseconds."""

_MAX_FAULTS: Final = 100
_MAX_MESSAGE: Final = 500
_MAX_VALIDATORS: Final = 256


class PipelineNotFoundError(HeadraceError):
    """No worker has registered that pipeline, or that version of it. *nearest*: the name most like it."""

    def __init__(self, name: str, version: int | None = None, nearest: str | None = None) -> None:
        which = f" version {version}" if version is not None else ""
        advice = "" if nearest is None else f" (did you mean {nearest!r}?)"
        super().__init__(f"there is no pipeline {name!r}{which}{advice}")
        self.name = name
        self.version = version


class PipelineInUseError(HeadraceError):
    """A version of a pipeline cannot be removed: a live worker serves it, or a job of it has not ended."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"pipeline {key} is in use: {reason}")
        self.key = key


class Fault(Struct, frozen=True):
    """One fault of a submission: the path of the value (`$.params.chains[1]`), and what is wrong with it."""

    path: str
    message: str


class ParamsInvalidError(HeadraceError):
    """The parameters do not fit the pipeline's schema. *faults* lists up to 100 of them."""

    def __init__(self, pipeline: str, faults: list[Fault]) -> None:
        super().__init__(f"the parameters do not fit pipeline {pipeline!r}")
        self.faults = faults


class PipelineUnknownError(ParamsInvalidError):
    """A submission names a pipeline, or a version of it, that no worker has registered."""

    def __init__(self, faults: list[Fault]) -> None:
        HeadraceError.__init__(self, faults[0].message)
        self.faults = faults


class PipelineService:
    """The registered pipelines, as clients read them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._repository = PipelineRepository(session)

    async def get(self, name: str, version: int | None = None) -> PipelineVersion:
        """Return one version of a pipeline, by default its newest.

        Raises:
            PipelineNotFoundError: no worker has registered it.
        """
        pipeline = await self._repository.fetch(name, version)
        if pipeline is None:
            raise await self._not_found(name, version)
        return pipeline

    async def get_newest(self) -> Sequence[PipelineVersion]:
        """Return the newest version of each pipeline, in the order of their names."""
        return await self._repository.fetch_newest()

    async def remove(self, name: str, version: int | None = None) -> None:
        """Remove all versions of a pipeline, or one: all or none. Jobs of the past keep their definition.

        Raises:
            PipelineNotFoundError: there is no such version, or it is removed already.
            PipelineInUseError: a live worker serves a version, or a job of it has not ended.
        """
        versions = await self._repository.fetch_locked(name, version)
        if not versions:
            raise await self._not_found(name, version)
        for pipeline in versions:
            key = version_key(name, pipeline.version)
            worker = await self._repository.find_server(pipeline)
            if worker is not None:
                raise PipelineInUseError(key, f"the live worker {worker} serves it")
            if await self._repository.has_unfinished_jobs(pipeline):
                raise PipelineInUseError(key, "a job of it has not ended; cancel it or wait")
        now = await database_now(self._session)
        for pipeline in versions:
            pipeline.removed_at = pipeline.updated_at = now

    async def _not_found(self, name: str, version: int | None) -> PipelineNotFoundError:
        return PipelineNotFoundError(name, version, nearest_other(name, await self._repository.fetch_names()))


def nearest_other(name: str, names: Collection[str]) -> str | None:
    """Return the one of *names* that is most like *name*; None if it is there itself, or none is like it."""
    return None if name in names else nearest(name, names)


def as_newest(version: PipelineVersion) -> CachedPipeline:
    """Return what a submission needs of a registered version, which is the newest."""
    return CachedPipeline(version.name, version.version, version.params_schema, version.updated_at, True)


_validators: dict[tuple[str, int, datetime], ParamsValidator] = {}


def check_params(pipeline: CachedPipeline, params: Any, *, at: str = "$.params") -> None:
    """Check that a worker can decode *params*, as far as the pipeline's schema tells.

    Raises:
        ParamsInvalidError: they do not fit. The paths of its faults begin with *at*.
    """
    key = (pipeline.name, pipeline.version, pipeline.updated_at)
    validator = _validators.get(key)
    if validator is None:
        if len(_validators) >= _MAX_VALIDATORS:
            _validators.clear()
        validator = _validators[key] = ParamsValidator(pipeline.params_schema)
    if validator.is_valid(params):
        return
    faults = [
        Fault(at + _path(keys), message[:_MAX_MESSAGE])
        for keys, message in islice(validator.faults(params), _MAX_FAULTS)
    ]
    raise ParamsInvalidError(pipeline.name, faults)


async def check_params_in_turn(
    pipeline: CachedPipeline, params: Any, size: int, heavy_work: HeavyWork, *, at: str = "$.params"
) -> None:
    """Check *params* of *size* characters as JSON like `check_params`, large ones in a thread."""
    if size > MAX_LOOP_PARAMS:
        await heavy_work.run_in_thread(partial(check_params, pipeline, params, at=at))
    else:
        check_params(pipeline, params, at=at)


def _path(keys: list[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
