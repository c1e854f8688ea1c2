"""What is done with pipelines: workers register them, people look at them, submissions are held to them."""

from datetime import datetime
from typing import Any, Final

import jsonschema_rs
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Struct

from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.catalogue import KnownPipeline
from headrace.domain.pipelines.models import PipelineVersion
from headrace.domain.pipelines.repository import PipelineRepository

_MOST_FAULTS: Final = 100
_MOST_VALIDATORS: Final = 256


class PipelineNotFoundError(HeadraceError):
    """No worker has ever registered that pipeline, or that version of it."""

    def __init__(self, name: str, version: int | None = None) -> None:
        super().__init__(
            f"there is no pipeline {name!r}" + (f" version {version}" if version is not None else "")
        )
        self.name = name
        self.version = version


class Fault(Struct, frozen=True):
    """One thing that is wrong with a submission: where (`$.params.chains[1]`), and what."""

    path: str
    message: str


class ParamsInvalidError(HeadraceError):
    """The parameters do not fit the pipeline's schema; all faults at once."""

    def __init__(self, pipeline: str, faults: list[Fault]) -> None:
        super().__init__(f"the parameters do not fit pipeline {pipeline!r}")
        self.faults = faults


class PipelineUnknownError(ParamsInvalidError):
    """A submission names a pipeline, or a version of one, that no worker has ever registered."""

    def __init__(self, faults: list[Fault]) -> None:
        HeadraceError.__init__(self, faults[0].message)
        self.faults = faults


class PipelineService(SQLAlchemyAsyncRepositoryService[PipelineVersion, PipelineRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = PipelineRepository

    async def get_version(self, name: str, version: int | None = None) -> PipelineVersion:
        """That version, or the newest.

        Raises:
            PipelineNotFoundError: nobody registered it.
        """
        found = await self.repository.find(name, version)
        if found is None:
            raise PipelineNotFoundError(name, version)
        return found


def known(version: PipelineVersion) -> KnownPipeline:
    """A registered version, taken as the newest."""
    return KnownPipeline(version.name, version.version, version.params_schema, version.updated_at, True)


_validators: dict[tuple[str, int, datetime], jsonschema_rs.Validator] = {}


def check_params(pipeline: KnownPipeline, params: Any, *, at: str = "$.params") -> None:
    """Hold *params* against the pipeline's schema.

    Raises:
        ParamsInvalidError: with the path of every fault, below *at*.
    """
    key = (pipeline.name, pipeline.version, pipeline.updated_at)
    validator = _validators.get(key)
    if validator is None:
        if len(_validators) >= _MOST_VALIDATORS:
            _validators.clear()
        validator = _validators[key] = jsonschema_rs.validator_for(pipeline.params_schema)
    if validator.is_valid(params):
        return
    faults = []
    for error in validator.iter_errors(params):
        faults.append(Fault(at + _path(error.instance_path), error.message[:500]))
        if len(faults) == _MOST_FAULTS:
            break
    raise ParamsInvalidError(pipeline.name, faults)


def _path(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
