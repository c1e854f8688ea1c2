"""The use cases of presets: list, create, change, delete."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET
from uuid_utils.compat import uuid7

from headrace.domain.accounts.reach import Reach
from headrace.domain.base import Session, database_now, set_json
from headrace.domain.conflicts import translate_unique_violation
from headrace.domain.heavy_work import HeavyWork
from headrace.domain.jobs.errors import PresetNotFoundError
from headrace.domain.json_decoding import decode_stored
from headrace.domain.json_limits import check_size
from headrace.domain.paging import ListPage
from headrace.domain.pipelines.repository import PipelineRepository
from headrace.domain.pipelines.service import (
    Fault,
    PipelineNotFoundError,
    PipelineUnknownError,
    as_newest,
    check_params_in_turn,
    nearest_other,
)
from headrace.domain.presets.errors import (
    MAX_PRESETS,
    PresetInUseError,
    PresetTitleTakenError,
    TooManyPresetsError,
)
from headrace.domain.presets.filters import PresetChanges, PresetFilter
from headrace.domain.presets.models import Preset
from headrace.domain.presets.repository import PresetRepository

_UNIQUE_TITLE: Final = "uq_presets_owner_id"


class PresetService:
    """Saved parameters of pipelines. Methods flush; the caller commits."""

    def __init__(self, session: Session, heavy_work: HeavyWork | None = None) -> None:
        self._session = session
        self._heavy_work = heavy_work or HeavyWork()
        self._repository = PresetRepository(session)
        self._pipelines = PipelineRepository(session)

    async def create(
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
            ValueTooLargeError: the parameters are too large.
            ParamsInvalidError: the pipeline is unknown, or the parameters do not fit it; with every fault.
            PresetTitleTakenError: the owner already has a preset with that title.
            TooManyPresetsError: the owner has as many presets as a user may have.
            TooManyTagsError: the owner would have too many tags.
        """
        if await self._repository.count(owner_id) >= MAX_PRESETS:
            raise TooManyPresetsError
        await self._check(pipeline, params)
        now = await database_now(self._session)
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
        async with translate_unique_violation(self._session, _UNIQUE_TITLE, PresetTitleTakenError(title)):
            self._session.add(preset)
        await self._repository.set_tags(preset, tags)
        return await self.get(preset.id, Reach(owner_id))

    async def get(self, preset_id: UUID, reach: Reach) -> Preset:
        """Return a preset within reach, with its tags.

        Raises:
            PresetNotFoundError: there is no such preset within reach.
        """
        return self._existing(await self._repository.fetch(preset_id, reach), preset_id)

    async def get_page(self, reach: Reach, filters: PresetFilter) -> ListPage[Preset]:
        """Return a page of the matching presets within reach, and the number of all of them."""
        return await self._repository.fetch_page(reach, filters)

    async def update(self, preset_id: UUID, reach: Reach, changes: PresetChanges) -> Preset:
        """Change the fields that *changes* sets.

        Raises:
            PresetNotFoundError: there is no such preset within reach.
            ValueTooLargeError: the parameters are too large.
            ParamsInvalidError: the pipeline is unknown, or the parameters do not fit it; with every fault.
            PresetTitleTakenError: its owner already has another preset with that title.
        """
        preset = await self._get_locked(preset_id, reach)
        if changes.pipeline is not UNSET or changes.params is not UNSET:
            await self._check(
                preset.pipeline if changes.pipeline is UNSET else changes.pipeline,
                decode_stored(preset.params) if changes.params is UNSET else changes.params,
            )
        title = preset.title if changes.title is UNSET else changes.title
        async with translate_unique_violation(self._session, _UNIQUE_TITLE, PresetTitleTakenError(title)):
            for name in ("title", "description", "pipeline"):
                value = getattr(changes, name)
                if value is not UNSET:
                    setattr(preset, name, value)
            if changes.params is not UNSET:
                set_json(preset, "params", changes.params)
        if changes.tags is not UNSET:
            await self._repository.set_tags(preset, changes.tags)
        return await self.get(preset_id, reach)

    async def delete(self, preset_id: UUID, reach: Reach, *, keep_jobs: bool) -> None:
        """Delete a preset. With *keep_jobs* its jobs stay as jobs without one, else they are deleted as well.

        Raises:
            PresetNotFoundError: there is no such preset within reach.
            PresetInUseError: a job that would be deleted has not ended.
        """
        preset = await self._get_locked(preset_id, reach)
        if keep_jobs:
            await self._repository.detach_jobs(preset)
        else:
            await self._refuse_in_use(preset)
            await self._repository.delete_finished_jobs(preset)
            # A retry may have queued one of the jobs again between the two statements.
            await self._refuse_in_use(preset)
        await self._repository.delete(preset)

    async def _refuse_in_use(self, preset: Preset) -> None:
        if await self._repository.has_unfinished_jobs(preset):
            raise PresetInUseError(preset.id)

    async def _check(self, pipeline: str, params: dict[str, Any]) -> None:
        size = check_size(params, "$.params")
        version = await self._pipelines.fetch(pipeline)
        if version is None:
            advice = nearest_other(pipeline, await self._pipelines.fetch_names())
            error = PipelineNotFoundError(pipeline, nearest=advice)
            raise PipelineUnknownError([Fault("$.pipeline", str(error))])
        await check_params_in_turn(as_newest(version), params, size, self._heavy_work)

    async def _get_locked(self, preset_id: UUID, reach: Reach) -> Preset:
        return self._existing(await self._repository.fetch(preset_id, reach, lock=True), preset_id)

    @staticmethod
    def _existing(preset: Preset | None, preset_id: UUID) -> Preset:
        if preset is None:
            raise PresetNotFoundError(preset_id)
        return preset
