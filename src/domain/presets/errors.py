"""What may not be done with a preset, and why."""

from uuid import UUID

from headrace.domain.conflicts import TakenError
from headrace.domain.errors import HeadraceError


class PresetNotFoundError(HeadraceError):
    """There is no such preset, or it is somebody else's: the two look the same."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"there is no preset {preset_id}")
        self.preset_id = preset_id


class PresetTitleTakenError(TakenError):
    """The owner has a preset of that title."""

    def __init__(self, title: str) -> None:
        super().__init__("$.title", f"there is a preset {title!r} already")


class PresetInUseError(HeadraceError):
    """A job of the preset has not ended, and deleting the preset would delete the job."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"a job of preset {preset_id} has not ended; wait, cancel it or use keep_jobs=true")
        self.preset_id = preset_id


class PresetBusyError(HeadraceError):
    """Somebody changes or deletes the preset right now."""

    def __init__(self, preset_id: UUID) -> None:
        super().__init__(f"preset {preset_id} is being changed; try again")
        self.preset_id = preset_id
