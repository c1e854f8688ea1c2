"""The bodies of /presets."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from headrace.api.jobs.schemas import JobTerms
from headrace.api.schemas import Name, Tags, omission, shown, view_of
from headrace.domain.jobs.submission.submission import JobSpec
from headrace.domain.json_decoding import decode_stored
from headrace.domain.presets.filters import PresetChanges
from headrace.domain.presets.models import Preset

Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=1000)]


class SavePreset(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /presets and of PUT /presets/{id}: the whole preset."""

    title: Title
    description: Description | None = None
    pipeline: Name
    params: dict[str, Any]
    tags: Tags = []

    def changes(self) -> PresetChanges:
        return PresetChanges(
            title=self.title,
            description=self.description,
            pipeline=self.pipeline,
            params=self.params,
            tags=tuple(self.tags),
        )


class PatchPreset(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PATCH /presets/{id}. Absent fields stay; a null clears the description."""

    title: Title | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    pipeline: Name | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET

    def changes(self) -> PresetChanges:
        return PresetChanges(
            title=self.title,
            description=self.description,
            pipeline=self.pipeline,
            params=self.params,
            tags=UNSET if self.tags is UNSET else tuple(self.tags),
        )


class RunPreset(JobTerms, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /presets/{id}/jobs: that of POST /jobs without the fields of the preset."""

    def spec_of(self, preset: Preset) -> JobSpec:
        """Return a job of the newest version of the preset's pipeline."""
        params = decode_stored(preset.params)
        return self.spec("$", pipeline=preset.pipeline, params=params, preset_id=preset.id)


class PresetView(Struct, kw_only=True):
    """One preset."""

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    pipeline: str
    params: dict[str, Any]
    tags: list[str]
    created_at: datetime
    updated_at: datetime
    params_omitted: bool | UnsetType = UNSET
    """True in a list if the params have more than 64 KiB, or do not fit into the list's 8 MiB.

    Then they are empty there, and the preset itself has them.
    """

    @classmethod
    def of(cls, preset: Preset) -> "PresetView":
        return view_of(
            cls,
            preset,
            tags=[tag.name for tag in preset.tags],
            params=shown(preset.params),
            params_omitted=omission(preset.params),
        )
