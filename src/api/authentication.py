"""Who asks. The one place that knows; every route but the public ones comes through it."""

import ipaddress
from typing import Any, Final
from uuid import UUID

import structlog
from litestar.connection import ASGIConnection
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from domain.accounts.service import UserService
from domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

DEV_USER: Final = "dev"


class CurrentUser(Struct, frozen=True):
    """The caller."""

    id: UUID
    username: str
    is_admin: bool


class RemoteRefusedError(HeadraceError):
    """In `local` mode everybody is the dev user, so only this machine may ask."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"HEADRACE_AUTH=local lets everybody in, so {host} is refused: listen on 127.0.0.1, or set"
            " HEADRACE_ALLOW_REMOTE=true where something else keeps strangers out"
        )
        self.host = host


class LocalAuthenticator:
    """Mode `local`: whoever asks is the dev user."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._user: CurrentUser | None = None

    async def authenticate(self, _connection: ASGIConnection[Any, Any, Any, Any]) -> CurrentUser:
        if self._user is None:
            async with self._sessions.begin() as session:
                user = await UserService(session=session).ensure(DEV_USER)
                self._user = CurrentUser(user.id, user.username, user.is_admin)
        return self._user


def refuse_remote(host: str, *, allow_remote: bool) -> None:
    """Keep `local` mode on this machine.

    Raises:
        RemoteRefusedError: *host* is not a loopback address, and that was not allowed.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not allow_remote:
        raise RemoteRefusedError(host)
    _log.warning("local_auth", warning="everybody who reaches this address is the dev user", host=host)
