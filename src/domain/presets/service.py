"""What people do with presets: save, look, change, run, delete."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET
from uuid_utils.compat import uuid7

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import database_now
from headrace.domain.conflicts import translate_unique_violation
from headrace.domain.jobs.errors import PresetNotFoundError
from headrace.domain.json_bounds import check_size
from headrace.domain.pipelines.repository import PipelineRepository
from headrace.domain.pipelines.service import (
    Fault,
    PipelineNotFoundError,
    PipelineUnknownError,
    check_params,
    known,
)
from headrace.domain.presets.errors import PresetInUseError, PresetTitleTakenError
from headrace.domain.presets.filters import PresetChanges, PresetFilter
from headrace.domain.presets.models import Preset
from headrace.domain.presets.repository import PresetRepository

_TITLE: Final = "uq_presets_owner_id"


class PresetService(SQLAlchemyAsyncRepositoryService[Preset, PresetRepository]):
    """Methods flush and never commit: whoever opened the transaction ends it."""

    repository_type = PresetRepository

    def __init__(self, session: Any, **kwargs: Any) -> None:
        super().__init__(session=session, **kwargs)
        self._pipelines = PipelineRepository(session=session)

    async def find(self, preset_id: UUID, reach: Reach) -> Preset:
        """A preset within reach.

        Raises:
            PresetNotFoundError: none, or somebody else's.
        """
        return self._known(await self.repository.reached(preset_id, reach), preset_id)

    async def page(self, reach: Reach, wanted: PresetFilter) -> tuple[Sequence[Preset], int]:
        return await self.repository.page(reach, wanted)

    async def add(
        self,
        owner_id: UUID,
        *,
        title: str,
        description: str | None,
        pipeline: str,
        params: dict[str, Any],
        tags: Sequence[str],
    ) -> Preset:
        """Save parameters under a title.

        Raises:
            ValueTooLargeError: the parameters are too large to be kept.
            ParamsInvalidError: the pipeline is unknown, or the parameters do not fit it; with every fault.
            PresetTitleTakenError: the owner has a preset of that title.
        """
        await self._check(pipeline, params)
        now = await database_now(self.repository.session)
        preset = Preset(
            id=uuid7(),
            owner_id=owner_id,
            title=title,
            description=description,
            pipeline=pipeline,
            params=params,
            created_at=now,
            updated_at=now,
        )
        async with translate_unique_violation(self.repository.session, _TITLE, PresetTitleTakenError(title)):
            self.repository.session.add(preset)
        await self.repository.set_tags(preset, tags)
        return await self.find(preset.id, Reach(owner_id))

    async def change(self, preset_id: UUID, reach: Reach, changes: PresetChanges) -> Preset:
        """Make a preset as *changes* want it.

        Raises:
            PresetNotFoundError: none, or somebody else's.
            ValueTooLargeError: the parameters are too large to be kept.
            ParamsInvalidError: the pipeline is unknown, or the parameters do not fit it; with every fault.
            PresetTitleTakenError: its owner has another preset of that title.
        """
        preset = self._known(await self.repository.reached(preset_id, reach, lock=True), preset_id)
        if changes.pipeline is not UNSET or changes.params is not UNSET:
            await self._check(
                preset.pipeline if changes.pipeline is UNSET else changes.pipeline,
                preset.params if changes.params is UNSET else changes.params,
            )
        title = preset.title if changes.title is UNSET else changes.title
        async with translate_unique_violation(self.repository.session, _TITLE, PresetTitleTakenError(title)):
            for name in ("title", "description", "pipeline", "params"):
                value = getattr(changes, name)
                if value is not UNSET:
                    setattr(preset, name, value)
        if changes.tags is not UNSET:
            await self.repository.set_tags(preset, changes.tags)
        return await self.find(preset_id, reach)

    async def remove(self, preset_id: UUID, reach: Reach, *, keep_jobs: bool) -> None:
        """Delete a preset and, unless they are to be kept, its jobs with their history and files.

        Raises:
            PresetNotFoundError: none, or somebody else's.
            PresetInUseError: one of the jobs that would go has not ended.
        """
        self._known(await self.repository.reached(preset_id, reach, lock=True), preset_id)
        if keep_jobs:
            await self.repository.let_go_of_jobs(preset_id)
        else:
            await self._refuse_in_use(preset_id)
            await self.repository.remove_ended_jobs(preset_id)
            # One of them may have been queued again meanwhile: it is still there.
            await self._refuse_in_use(preset_id)
        await self.repository.forget(preset_id)

    async def _refuse_in_use(self, preset_id: UUID) -> None:
        if await self.repository.is_in_use(preset_id):
            raise PresetInUseError(preset_id)

    async def _check(self, pipeline: str, params: dict[str, Any]) -> None:
        check_size(params, "$.params")
        found = await self._pipelines.find(pipeline)
        if found is None:
            raise PipelineUnknownError([Fault("$.pipeline", str(PipelineNotFoundError(pipeline)))])
        check_params(known(found), params)

    @staticmethod
    def _known(preset: Preset | None, preset_id: UUID) -> Preset:
        if preset is None:
            raise PresetNotFoundError(preset_id)
        return preset
