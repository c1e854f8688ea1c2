"""What can be wrong with accounts and keys."""

from typing import Final
from uuid import UUID

from headrace.domain.errors import HeadraceError

MOST_KEYS: Final = 100


class UserNotFoundError(HeadraceError):
    """There is no such user."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(f"there is no user {user_id}")
        self.user_id = user_id


class OwnAccountError(HeadraceError):
    """An admin would lock itself out."""

    def __init__(self) -> None:
        super().__init__("an admin cannot delete or demote its own account; another admin can")


class KeyNotFoundError(HeadraceError):
    """There is no such API key, or it is somebody else's: the two look the same."""

    def __init__(self, key_id: UUID) -> None:
        super().__init__(f"there is no API key {key_id}")
        self.key_id = key_id


class TooManyKeysError(HeadraceError):
    """Nobody needs so many keys."""

    def __init__(self) -> None:
        super().__init__(f"an account has at most {MOST_KEYS} API keys; delete one that is not used")
