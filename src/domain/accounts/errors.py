"""Errors of accounts and API keys."""

from typing import Final
from uuid import UUID

from headrace.domain.errors import HeadraceError

MAX_KEYS: Final = 100


class UserNotFoundError(HeadraceError):
    """There is no such user."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(f"there is no user {user_id}")
        self.user_id = user_id


class OwnAccountError(HeadraceError):
    """Admins cannot lock themselves out."""

    def __init__(self) -> None:
        super().__init__("an admin cannot delete or demote its own account; another admin can")


class KeyNotFoundError(HeadraceError):
    """There is no such API key within the caller's reach. A foreign key looks the same as a missing one."""

    def __init__(self, key_id: UUID) -> None:
        super().__init__(f"there is no API key {key_id}")
        self.key_id = key_id


class TooManyKeysError(HeadraceError):
    """The account has as many API keys as an account may have."""

    def __init__(self) -> None:
        super().__init__(f"an account has at most {MAX_KEYS} API keys; delete one that is not used")
