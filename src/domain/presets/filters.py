"""What somebody wants of presets: which to see, and how one is to be. Pure."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class PresetFilter(Struct, frozen=True, kw_only=True):
    """Which of the presets within reach are wanted; None: all."""

    pipeline: str | None = None
    tag: str | None = None
    search: str | None = None
    order_by: str = "-created_at"
    limit: int = 100
    offset: int = 0


class PresetChanges(Struct, frozen=True, kw_only=True):
    """How a preset is to be; what is not set stays as it is."""

    title: str | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    pipeline: str | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
