"""Errors of changing and deleting presets."""

from typing import Final
from uuid import UUID

from headrace.domain.conflicts import TakenError
from headrace.domain.errors import HeadraceError

MAX_PRESETS: Final = 1_000


class PresetTitleTakenError(TakenError):
    """The owner already has a preset with that title."""

    def __init__(self, title: str) -> None:
        super().__init__("$.title", f"there is a preset {title!r} already")


class PresetInUseError(HeadraceError):
    """Deleting the preset would delete a job that has not ended."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"a job of preset {preset_id} has not ended; wait, cancel it or keep the jobs")
        self.preset_id = preset_id


class TooManyPresetsError(HeadraceError):
    """The owner has as many presets as a user may have."""

    def __init__(self) -> None:
        super().__init__(f"a user has at most {MAX_PRESETS} presets; delete one that is not used")
