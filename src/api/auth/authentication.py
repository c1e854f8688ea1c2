"""Authenticates callers: finds the user behind a key, token, session cookie or proxy header."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from headrace.adapters.tasks import retrieve_exception
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.auth.tokens import TokenMaker, Tokens
from headrace.domain.accounts.admins import Admins
from headrace.domain.accounts.caller import Credential, CurrentUser, UnauthenticatedError
from headrace.domain.accounts.credential_repository import CredentialRepository, StoredKey
from headrace.domain.accounts.keys import KEY_PREFIX, is_key, prefix_of
from headrace.domain.accounts.scopes import EVERYTHING, Scope, rights_of
from headrace.domain.database import Row
from headrace.domain.ttl_cache import TtlCache
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

DEV_USER: Final = "dev"
ACCESS_COOKIE: Final = "headrace_access"
NAME_HEADERS: Final = ("x-forwarded-preferred-username", "x-forwarded-user")
EMAIL_HEADER: Final = "x-forwarded-email"
_MAX_NAME_LENGTH: Final = 255
_API_KEY_SCHEME: Final = f"bearer {KEY_PREFIX}"
# A revocation takes effect within a second, in every process.
_TTL_SECONDS: Final = 0.8
_MAX_CACHED_USERS: Final = 10_000
_JOB_TOKEN_SCOPES: Final = {
    "read": frozenset({Scope.JOBS_READ, Scope.FILES_READ}),
    "cancel": frozenset({Scope.JOBS_READ, Scope.FILES_READ, Scope.JOBS_WRITE}),
}

# The kind of a credential and its text.
CacheKey = tuple[str, ...]
LoadUser = Callable[[], Coroutine[Any, Any, CurrentUser]]


class Authentication(msgspec.Struct, frozen=True):
    """An authenticated caller.

    *is_ambient*: a browser adds the credential to every request, also to those that a foreign page makes.
    """

    user: CurrentUser
    is_ambient: bool


class Authenticator:
    """Authenticates requests, and caches each caller for less than a second."""

    def __init__(self, settings: Settings, repository: CredentialRepository, tokens: Tokens) -> None:
        self._mode = settings.auth
        self._repository = repository
        self._tokens = tokens
        self._proxies = Proxies(settings)
        # At a provider users choose their own usernames; an e-mail address is stored only if it was verified.
        self.admins = Admins(settings.admins, trusts_usernames=settings.auth != "token")
        self._dev: CurrentUser | None = None
        self._in_flight: dict[CacheKey, asyncio.Task[CurrentUser]] = {}
        self._cache: TtlCache[CacheKey, CurrentUser] = TtlCache(
            ttl_seconds=_TTL_SECONDS, max_entries=_MAX_CACHED_USERS
        )

    async def authenticate(self, request: RequestInfo, *, in_url: bool = False) -> Authentication:
        """Return the caller. *in_url*: the query may hold a job token, as `token`.

        Raises:
            UnauthenticatedError: the request has no credential, or an invalid one.
            DatabaseAwayError, DatabaseBusyError: the credential cannot be checked.
        """
        # A proxy may add an Authorization header of its own; an API key comes from the caller.
        if self._mode == "proxy" and not request.header("authorization").lower().startswith(_API_KEY_SCHEME):
            proxied = self._proxied_user(request)
            if proxied is not None:
                user = await self._cached(("proxy", *proxied), lambda: self._ensure_user("proxy", *proxied))
                return Authentication(user, True)
        bearer = bearer_of(request)
        if bearer is not None:
            return Authentication(await self._bearer_user(bearer), False)
        if in_url and (token := request.query("token")):
            user = await self._cached(("job", token), lambda: self._job_token_user(token))
            return Authentication(user, False)
        cookie = request.cookie(ACCESS_COOKIE) if self._mode == "token" else ""
        if cookie:
            user = await self._cached(("access", cookie), lambda: self._session_user(cookie))
            return Authentication(user, True)
        if self._mode == "local":
            self._dev = self._dev or await self._shared(
                ("local",), lambda: self._ensure_user("local", DEV_USER)
            )
            return Authentication(self._dev, True)
        raise UnauthenticatedError("token_missing", "sign in, or send a bearer token")

    def forget_local_user(self) -> None:
        """Look up the user of local mode again at the next request, because the row is gone."""
        self._dev = None

    async def _bearer_user(self, text: str) -> CurrentUser:
        if text.startswith(KEY_PREFIX):
            return await self._cached(("key", text), lambda: self._api_key_user(text))
        return await self._cached(("bearer", text), lambda: self._token_user(text))

    async def _cached(self, key: CacheKey, load: LoadUser) -> CurrentUser:
        cached = self._cache.get(key)
        return cached if cached is not None else await self._shared(key, lambda: self._load(key, load))

    async def _shared(self, key: CacheKey, load: LoadUser) -> CurrentUser:
        """Share one query among concurrent requests with the same credential."""
        task = self._in_flight.get(key)
        if task is None:
            task = self._in_flight[key] = asyncio.create_task(load())
            task.add_done_callback(partial(self._on_loaded, key))
        try:
            return await asyncio.shield(task)
        finally:
            # The frame is in the traceback of the task's error: it must not keep the task.
            del task

    def _on_loaded(self, key: CacheKey, task: "asyncio.Task[CurrentUser]") -> None:
        del self._in_flight[key]
        retrieve_exception(task)

    async def _load(self, key: CacheKey, load: LoadUser) -> CurrentUser:
        as_of = self._cache.now()
        user = await load()
        self._cache.put(key, user, as_of=as_of)
        return user

    async def _api_key_user(self, text: str) -> CurrentUser:
        prefix = prefix_of(text)
        stored = await self._repository.api_key(prefix) if prefix else None
        if stored is None or not is_key(text, stored.digest):
            raise UnauthenticatedError("token_invalid", "there is no such API key")
        if stored.is_expired:
            raise UnauthenticatedError("token_expired", "the API key has expired")
        await self._repository.note_use(stored.row["credential_id"])
        return self._key_user(stored)

    def _key_user(self, stored: StoredKey) -> CurrentUser:
        user = self._user(stored.row, "api_key", expires_at=stored.row["expires_at"])
        return msgspec.structs.replace(user, scopes=rights_of(stored.scopes, is_admin=user.is_admin))

    async def _token_user(self, text: str) -> CurrentUser:
        """Return the user of an access token or a job token; the two have different signing keys."""
        try:
            return await self._session_user(text)
        except UnauthenticatedError as error:
            if error.code == "token_expired":
                raise
        return await self._job_token_user(text)

    async def _session_user(self, text: str) -> CurrentUser:
        token = self._tokens.read_access(text)
        row = await self._repository.session(token.session_id)
        if row is None or row["id"] != token.user_id:
            raise UnauthenticatedError("token_invalid", "the session is over; sign in again")
        return self._user(row, "session")

    async def _job_token_user(self, text: str) -> CurrentUser:
        token = self._tokens.read_job(text)
        row = await self._repository.job_token(token.job_id)
        if row is None or (row["tokens_valid_after"] and token.issued_at <= row["tokens_valid_after"]):
            raise UnauthenticatedError("token_invalid", "the job token is no longer valid")
        user = msgspec.structs.replace(
            self._user(row, "job_token", expires_at=token.expires_at),
            is_admin=False,
            scopes=_JOB_TOKEN_SCOPES[token.right],
            issued_at=token.issued_at,
        )
        if token.maker is None:
            return user
        maker = await self._maker(token.maker)
        if maker is None or not (maker.id == user.id or maker.acts_as_admin):
            raise UnauthenticatedError("token_invalid", "the credential that made the job token is over")
        return user.limited_by(maker)

    async def _maker(self, maker: TokenMaker) -> CurrentUser | None:
        """Return the caller that made a job token, with its rights of today; None if they have ended."""
        if maker.credential == "api_key":
            stored = await self._repository.api_key_by_id(maker.id)
            return None if stored is None or stored.is_expired else self._key_user(stored)
        if maker.credential == "session":
            row = await self._repository.session(maker.id) if self._mode == "token" else None
            return None if row is None else self._user(row, "session")
        row = await self._repository.user(maker.id) if self._mode != "token" else None
        return None if row is None else self._user(row, "proxy" if self._mode == "proxy" else "local")

    async def _ensure_user(self, credential: Credential, username: str, email: str = "") -> CurrentUser:
        """Return the user of that name, whose account is created at the first request."""
        row = await self._repository.upsert_proxy_user(username, email or None)
        return self._user(row, credential)

    def _user(self, row: Row, credential: Credential, expires_at: Any = None) -> CurrentUser:
        is_admin_by_settings = self.admins.include(
            username=row["username"], email=row["email"], is_admin=False
        )
        return CurrentUser(
            id=row["id"],
            username=row["username"],
            email=row["email"],
            is_admin=row["is_admin"] or is_admin_by_settings,
            is_admin_by_row=not is_admin_by_settings,
            scopes=EVERYTHING,
            credential=credential,
            credential_id=row["credential_id"] if credential in ("session", "api_key", "job_token") else None,
            expires_at=expires_at,
        )

    def _proxied_user(self, request: RequestInfo) -> tuple[str, str] | None:
        """Return the username and e-mail address that a proxy's headers name; None if it sent none.

        Raises:
            UnauthenticatedError: the peer is not the proxy, or a header is repeated or holds no name.
        """
        sent = {name: request.header_values(name) for name in (*NAME_HEADERS, EMAIL_HEADER)}
        if not any(sent.values()):
            return None
        if not self._proxies.is_proxy(request):
            _log.warning(
                "spoofed_identity",
                peer=request.peer,
                headers=[name for name, values in sent.items() if values],
            )
            raise UnauthenticatedError("token_invalid", "only the proxy may say who you are")
        if any(len(values) > 1 for values in sent.values()):
            raise UnauthenticatedError("token_invalid", "a header of the proxy is repeated")
        email = _decode_name("".join(sent[EMAIL_HEADER]))
        for name in NAME_HEADERS:
            if "".join(sent[name]).strip():
                username = _decode_name("".join(sent[name]))
                if not username:
                    raise UnauthenticatedError("token_invalid", f"{name} holds no name")
                return username, email
        if email:
            return email, email
        raise UnauthenticatedError("token_invalid", "the proxy names no user")


def bearer_of(request: RequestInfo) -> str | None:
    """Return the token of an `Authorization: Bearer` header; None without that header.

    Raises:
        UnauthenticatedError: the header has another scheme or no token.
    """
    if not request.header_values("authorization"):
        return None
    scheme, _, token = request.header("authorization").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("token_invalid", "send the token as: Authorization: Bearer ...")
    return token.strip()


def _decode_name(raw: str) -> str:
    """Return a header's value as text; empty if it is not printable UTF-8 of at most 255 characters."""
    try:
        text = raw.encode("latin-1").decode().strip()
    except UnicodeError:
        return ""
    return text if len(text) <= _MAX_NAME_LENGTH and text.isprintable() else ""
