"""Who asks. The one place that knows; every route but the public ones comes through it."""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.admins import Admins
from headrace.domain.accounts.caller import Credential, CurrentUser, UnauthenticatedError
from headrace.domain.accounts.credential_repository import CredentialRepository
from headrace.domain.accounts.keys import KEY_PREFIX, is_key, prefix_of
from headrace.domain.accounts.scopes import EVERYTHING, Scope, rights_of
from headrace.domain.database import Row
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

DEV_USER: Final = "dev"
ACCESS_COOKIE: Final = "headrace_access"
_NAME_HEADERS: Final = ("x-forwarded-preferred-username", "x-forwarded-user")
_EMAIL_HEADER: Final = "x-forwarded-email"
_LONGEST_NAME: Final = 255
_OUR_KEY: Final = f"bearer {KEY_PREFIX}"
# A revocation bites within a second, on every process.
_KNOWN_SECONDS: Final = 0.8
_MOST_KNOWN: Final = 10_000
_JOB_RIGHTS: Final = {
    "read": frozenset({Scope.JOBS_READ, Scope.FILES_READ}),
    "cancel": frozenset({Scope.JOBS_READ, Scope.FILES_READ, Scope.JOBS_WRITE}),
}


class RemoteRefusedError(HeadraceError):
    """In `local` mode everybody is the dev user, so only this machine may ask."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"HEADRACE_AUTH=local lets everybody in, so {host} is refused: listen on 127.0.0.1, or set"
            " HEADRACE_ALLOW_REMOTE=true where something else keeps strangers out"
        )
        self.host = host


class Authentication(msgspec.Struct, frozen=True):
    """A caller. *is_ambient*: a browser shows the proof by itself, whoever's page asks it to."""

    user: CurrentUser
    is_ambient: bool


class Authenticator:
    """Knows callers by what they show; what was found out counts for less than a second."""

    def __init__(self, settings: Settings, repository: CredentialRepository, tokens: Tokens) -> None:
        self._mode = settings.auth
        self._repository = repository
        self._tokens = tokens
        self._proxies = Proxies(settings)
        # Who signs in at a provider chooses the username; an e-mail is kept only where it was verified.
        self.admins = Admins(settings.admins, trusts_usernames=settings.auth != "token")
        self._dev: CurrentUser | None = None
        self._asking: dict[tuple[str, ...], asyncio.Task[CurrentUser]] = {}
        self._known: OrderedDict[tuple[str, ...], tuple[float, CurrentUser]] = OrderedDict()

    async def authenticate(self, asked: RequestInfo, *, in_url: bool = False) -> Authentication:
        """The caller who shows *asked*. *in_url*: a job token may stand in the query, as `token`.

        Raises:
            UnauthenticatedError: nothing was shown, or nothing that counts.
            DatabaseAwayError, DatabaseBusyError: it cannot be found out.
        """
        # A proxy may add an Authorization of its own; a key of ours was meant.
        if self._mode == "proxy" and not asked.header("authorization").lower().startswith(_OUR_KEY):
            named = self._named_by_proxy(asked)
            if named is not None:
                return Authentication(
                    await self._recall(("proxy", *named), lambda: self._seen("proxy", *named)), True
                )
        bearer = bearer_of(asked)
        if bearer is not None:
            return Authentication(await self._of_bearer(bearer), False)
        if in_url and (token := asked.query("token")):
            return Authentication(
                await self._recall(("job", token), lambda: self._of_job_token(token)), False
            )
        cookie = asked.cookie(ACCESS_COOKIE) if self._mode == "token" else ""
        if cookie:
            return Authentication(
                await self._recall(("access", cookie), lambda: self._of_session(cookie)), True
            )
        if self._mode == "local":
            self._dev = self._dev or await self._seen("local", DEV_USER)
            return Authentication(self._dev, True)
        raise UnauthenticatedError("token_missing", "sign in, or send a bearer token")

    async def _of_bearer(self, text: str) -> CurrentUser:
        if text.startswith(KEY_PREFIX):
            return await self._recall(("key", text), lambda: self._of_key(text))
        return await self._recall(("bearer", text), lambda: self._of_token(text))

    async def _recall(
        self, proof: tuple[str, ...], find: Callable[[], Coroutine[Any, Any, CurrentUser]]
    ) -> CurrentUser:
        known = self._known.get(proof)
        if known is not None and time.monotonic() - known[0] < _KNOWN_SECONDS:
            return known[1]
        # Of many who show the same at once, one asks PostgreSQL.
        asking = self._asking.get(proof)
        if asking is None:
            asking = self._asking[proof] = asyncio.create_task(self._find(proof, find))
            asking.add_done_callback(partial(self._asked, proof))
        return await asyncio.shield(asking)

    def _asked(self, proof: tuple[str, ...], asking: "asyncio.Task[CurrentUser]") -> None:
        del self._asking[proof]
        if not asking.cancelled():
            # Those who asked may be gone: nobody else has to hear of an error.
            asking.exception()

    async def _find(
        self, proof: tuple[str, ...], find: Callable[[], Coroutine[Any, Any, CurrentUser]]
    ) -> CurrentUser:
        now = time.monotonic()
        user = await find()
        self._known[proof] = (now, user)
        self._known.move_to_end(proof)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return user

    async def _of_key(self, text: str) -> CurrentUser:
        prefix = prefix_of(text)
        known = await self._repository.api_key(prefix) if prefix else None
        if known is None or not is_key(text, known.digest):
            raise UnauthenticatedError("token_invalid", "there is no such API key")
        if known.is_expired:
            raise UnauthenticatedError("token_expired", "the API key's time is over")
        await self._repository.note_use(known.row["credential_id"])
        user = self._user(known.row, "api_key", expires_at=known.row["expires_at"])
        return msgspec.structs.replace(user, scopes=rights_of(known.scopes, is_admin=user.is_admin))

    async def _of_token(self, text: str) -> CurrentUser:
        """A session's access token, or a job token: their keys differ."""
        try:
            return await self._of_session(text)
        except UnauthenticatedError as error:
            if error.code == "token_expired":
                raise
        return await self._of_job_token(text)

    async def _of_session(self, text: str) -> CurrentUser:
        token = self._tokens.read_access(text)
        row = await self._repository.session(token.session_id)
        if row is None or row["id"] != token.user_id:
            raise UnauthenticatedError("token_invalid", "the session is over; sign in again")
        return self._user(row, "session")

    async def _of_job_token(self, text: str) -> CurrentUser:
        token = self._tokens.read_job(text)
        row = await self._repository.job_token(token.job_id)
        if row is None or (row["tokens_valid_after"] and token.issued_at <= row["tokens_valid_after"]):
            raise UnauthenticatedError("token_invalid", "the job token does not count any more")
        user = self._user(row, "job_token", expires_at=token.expires_at)
        return msgspec.structs.replace(
            user, is_admin=False, scopes=_JOB_RIGHTS[token.right], issued_at=token.issued_at
        )

    async def _seen(self, credential: Credential, username: str, email: str = "") -> CurrentUser:
        return self._user(await self._repository.upsert_proxy_user(username, email or None), credential)

    def _user(self, row: Row, credential: Credential, expires_at: Any = None) -> CurrentUser:
        is_named = self.admins.include(username=row["username"], email=row["email"], is_admin=False)
        return CurrentUser(
            id=row["id"],
            username=row["username"],
            email=row["email"],
            is_admin=row["is_admin"] or is_named,
            is_admin_by_row=not is_named,
            scopes=EVERYTHING,
            credential=credential,
            credential_id=row["credential_id"] if credential in ("session", "api_key", "job_token") else None,
            expires_at=expires_at,
        )

    def _named_by_proxy(self, asked: RequestInfo) -> tuple[str, str] | None:
        """The user that a proxy names; None when it names none.

        Raises:
            UnauthenticatedError: somebody else than the proxy does, or it names two.
        """
        given = {name: asked.every(name) for name in (*_NAME_HEADERS, _EMAIL_HEADER)}
        if not any(given.values()):
            return None
        if not self._proxies.is_proxy(asked):
            _log.warning(
                "spoofed_identity", peer=asked.peer, headers=[name for name, sent in given.items() if sent]
            )
            raise UnauthenticatedError("token_invalid", "only the proxy may say who you are")
        if any(len(sent) > 1 for sent in given.values()):
            raise UnauthenticatedError("token_invalid", "a header of the proxy stands there twice")
        email = _plain("".join(given[_EMAIL_HEADER]))
        for name in _NAME_HEADERS:
            if "".join(given[name]).strip():
                username = _plain("".join(given[name]))
                if not username:
                    raise UnauthenticatedError("token_invalid", f"{name} holds no name")
                return username, email
        if email:
            return email, email
        raise UnauthenticatedError("token_invalid", "the proxy names nobody")


def refuse_remote(host: str, settings: Settings) -> None:
    """Keep `local` mode on this machine.

    Raises:
        RemoteRefusedError: *host* is not a loopback address, and that was not allowed.
    """
    if settings.auth != "local":
        return
    if not is_loopback(host) and not settings.allow_remote:
        raise RemoteRefusedError(host)
    _log.warning("local_auth", warning="everybody who reaches this address is the dev user", host=host)


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by name or by address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bearer_of(asked: RequestInfo) -> str | None:
    """What stands behind `Bearer`.

    Raises:
        UnauthenticatedError: another scheme was used.
    """
    if not asked.every("authorization"):
        return None
    given = asked.header("authorization")
    scheme, _, text = given.partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise UnauthenticatedError("token_invalid", "send the token as: Authorization: Bearer ...")
    return text.strip()


def _plain(raw: str) -> str:
    """A header's value as text; nothing where it is no name."""
    try:
        text = raw.encode("latin-1").decode().strip()
    except UnicodeError:
        return ""
    return text if len(text) <= _LONGEST_NAME and text.isprintable() else ""
