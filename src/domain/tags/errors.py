"""The errors of tags that submissions, jobs and presets share."""

from typing import Final

from headrace.domain.errors import HeadraceError

MAX_TAGS: Final = 10_000


class TooManyTagsError(HeadraceError):
    """The owner has as many tags as a user may have."""

    def __init__(self) -> None:
        super().__init__(f"a user has at most {MAX_TAGS} tags; delete those that are not used")
