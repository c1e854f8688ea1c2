"""Errors of changing and deleting presets."""

from uuid import UUID

from headrace.domain.conflicts import TakenError
from headrace.domain.errors import HeadraceError


class PresetTitleTakenError(TakenError):
    """The owner already has a preset with that title."""

    def __init__(self, title: str) -> None:
        super().__init__("$.title", f"there is a preset {title!r} already")


class PresetInUseError(HeadraceError):
    """Deleting the preset would delete a job that has not ended."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"a job of preset {preset_id} has not ended; wait, cancel it or keep the jobs")
        self.preset_id = preset_id
