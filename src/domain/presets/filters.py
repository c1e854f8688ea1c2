"""Which presets to list, and how to change one. Pure."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from headrace.domain.paging import PageRequest


class PresetFilter(PageRequest, frozen=True, kw_only=True):
    """Which presets within reach to list, and which page of them. None: no condition."""

    pipeline: str | None = None
    tag: str | None = None
    search: str | None = None
    order_by: str = "-created_at"


class PresetChanges(Struct, frozen=True, kw_only=True):
    """The new values of a preset. Unset fields stay as they are."""

    title: str | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    pipeline: str | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
