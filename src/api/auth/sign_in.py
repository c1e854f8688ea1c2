"""Signs users in at a provider, refreshes their sessions and signs them out; only in mode `token`."""

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from headrace.adapters.cipher import Cipher, DecryptionError
from headrace.adapters.providers.oauth_client import TEMPORARY_ERRORS
from headrace.adapters.providers.provider import AuthorizationRequest, Provider
from headrace.adapters.token_refresher import encrypt_tokens
from headrace.api.auth.tokens import ACCESS_LIFE, SessionToken, Tokens
from headrace.domain.accounts.caller import UnauthenticatedError
from headrace.domain.accounts.identity_service import IdentityService
from headrace.domain.accounts.login_attempt_repository import LoginAttemptRepository, PendingLogin
from headrace.domain.accounts.session_repository import SessionRepository
from headrace.domain.accounts.sign_in_errors import (
    CodeRefusedError,
    LoginCancelledError,
    LoginExpiredError,
    NoSessionsError,
    ProviderAwayError,
    ProviderNotFoundError,
    StateMismatchError,
)

_log = structlog.get_logger(__name__)

Mode = Literal["cookie", "token"]

EXPIRES_IN: Final = int(ACCESS_LIFE.total_seconds())
_RANDOM_BYTES: Final = 32
_BROWSER_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class StartedSignIn(Struct, frozen=True):
    """The URL to send the browser to, and the secret that it must bring back as a cookie."""

    url: str
    browser: str


class ProviderCallback(Struct, frozen=True, kw_only=True):
    """The query and the cookie of a browser that returns from a provider."""

    state: str | None
    code: str | None
    error: str | None
    is_cancelled: bool
    browser: str | None


class SessionTokens(Struct, frozen=True):
    """The tokens of a session, and when its refresh token expires."""

    id: UUID
    access: str
    refresh: str
    expires_at: datetime

    @property
    def seconds_left(self) -> int:
        """How long the session may still be refreshed, in seconds."""
        return max(0, int((self.expires_at - datetime.now(UTC)).total_seconds()))


class CompletedSignIn(Struct, frozen=True):
    """A new session, how to return its tokens, and the page to return to."""

    session: SessionTokens
    mode: Mode
    return_to: str


class _Secrets(Struct, frozen=True):
    """The secrets of a pending sign-in, stored encrypted. *browser* is a digest of the browser's secret."""

    verifier: str
    nonce: str
    redirect_uri: str
    browser: str
    mode: Mode


class SignIn:
    """Signs users in. No transaction is open while a provider answers, which may take ten seconds."""

    def __init__(
        self,
        providers: Mapping[str, Provider] | None,
        *,
        tokens: Tokens,
        cipher: Cipher,
        attempts: LoginAttemptRepository,
        sessions: SessionRepository,
        transactions: async_sessionmaker[AsyncSession],
    ) -> None:
        """*providers* is None outside of mode `token`: then every sign-in is refused."""
        self._providers = providers
        self._tokens = tokens
        self._cipher = cipher
        self._attempts = attempts
        self._sessions = sessions
        self._transactions = transactions

    async def start(
        self,
        name: str,
        *,
        base_url: str,
        return_to: str,
        mode: Mode,
        prompt: str | None,
        browser: str | None,
    ) -> StartedSignIn:
        """Start a sign-in at provider *name*. *browser* is the secret that this browser already has.

        Raises:
            ProviderNotFoundError: the provider is not configured.
            ProviderAwayError: the provider does not say where its sign-in page is.
        """
        provider = self._provider(name)
        # One secret per browser, so that two of its windows can sign in at once.
        browser = browser if browser and _BROWSER_SECRET.fullmatch(browser) else _random()
        request = AuthorizationRequest(
            state=_random(),
            verifier=_random(),
            nonce=_random(),
            redirect_uri=f"{base_url}/auth/callback/{name}",
        )
        url = await provider.authorize_url(request, prompt)
        state = _digest(request.state)
        stored = _Secrets(request.verifier, request.nonce, request.redirect_uri, _digest(browser).hex(), mode)
        encrypted = self._cipher.encrypt(msgspec.json.encode(stored), _associated_data(state))
        await self._attempts.insert(state, name, encrypted, return_to)
        return StartedSignIn(url, browser)

    async def complete(self, name: str, callback: ProviderCallback) -> CompletedSignIn:
        """Create a session for the user who returns from the provider.

        Raises:
            ProviderNotFoundError: the provider is not configured.
            StateMismatchError: this browser did not start the sign-in, or has completed it already.
            LoginExpiredError: the sign-in was started more than ten minutes ago.
            LoginCancelledError: the user refused at the provider.
            CodeRefusedError, IdTokenRefusedError, ProviderAwayError: see `Provider.complete`.
        """
        provider = self._provider(name)
        state = _digest(callback.state or "")
        attempt = await self._attempts.redeem(state, name)
        if attempt is None:
            raise StateMismatchError
        stored = self._decrypted(attempt, state)
        if not hmac.compare_digest(_digest(callback.browser or "").hex(), stored.browser):
            raise StateMismatchError
        if attempt.is_expired:
            raise LoginExpiredError
        code = _code(name, callback)
        request = AuthorizationRequest(
            state=callback.state or "",
            verifier=stored.verifier,
            nonce=stored.nonce,
            redirect_uri=stored.redirect_uri,
        )
        identity = await provider.fetch_identity(request, code)
        encrypted = encrypt_tokens(self._cipher, name, identity.profile.subject, identity.tokens)
        async with self._transactions.begin() as session:
            signed_in = await IdentityService(session=session).sign_in(name, identity.profile, encrypted)
        _log.info(
            "signed_in", provider=name, user_id=str(signed_in.user_id), session_id=str(signed_in.session_id)
        )
        issued = self._issue(signed_in.session_id, signed_in.user_id, 0, signed_in.expires_at)
        return CompletedSignIn(issued, stored.mode, attempt.return_to)

    async def refresh(self, text: str) -> SessionTokens:
        """Exchange a refresh token for new tokens; it is invalid from then on.

        A token that was used before ends its session: either its owner or a thief has the newer one.

        Raises:
            NoSessionsError: the service has no sessions in its mode.
            UnauthenticatedError: the token is not valid.
        """
        self.require_sessions()
        token = self._tokens.read_refresh(text)
        refreshed = await self._sessions.refresh(token.session_id, token.user_id, token.generation)
        if refreshed is not None and refreshed.was_reused:
            _log.warning("refresh_token_reused", session_id=str(token.session_id), user_id=str(token.user_id))
        if refreshed is None or refreshed.was_reused:
            raise UnauthenticatedError("token_invalid", "the session is over; sign in again")
        return self._issue(token.session_id, token.user_id, refreshed.generation, refreshed.expires_at)

    async def sign_out(self, token: SessionToken) -> None:
        """End a session: its tokens are refused within a second, in every process."""
        await self._sessions.revoke(token.session_id, token.user_id)

    def require_sessions(self) -> None:
        """Check that the service runs in mode `token`, which has sessions.

        Raises:
            NoSessionsError: it runs in another mode.
        """
        if self._providers is None:
            raise NoSessionsError

    async def close(self) -> None:
        for provider in (self._providers or {}).values():
            await provider.close()

    def _provider(self, name: str) -> Provider:
        provider = (self._providers or {}).get(name)
        if provider is None:
            raise ProviderNotFoundError(name)
        return provider

    def _issue(self, session_id: UUID, user_id: UUID, generation: int, expires_at: datetime) -> SessionTokens:
        now = datetime.now(UTC)
        return SessionTokens(
            session_id,
            self._tokens.issue_access(session_id, user_id, now=now),
            self._tokens.issue_refresh(session_id, user_id, generation, now=now, until=expires_at),
            expires_at,
        )

    def _decrypted(self, attempt: PendingLogin, state: bytes) -> _Secrets:
        try:
            plain = self._cipher.decrypt(attempt.secrets, _associated_data(state))
            return msgspec.json.decode(plain, type=_Secrets)
        except (DecryptionError, msgspec.MsgspecError) as error:
            raise StateMismatchError from error


def _code(name: str, callback: ProviderCallback) -> str:
    if callback.error == "access_denied" or (callback.is_cancelled and not callback.code):
        raise LoginCancelledError
    if callback.error in TEMPORARY_ERRORS:
        raise ProviderAwayError(name, callback.error)
    if callback.error or not callback.code:
        raise CodeRefusedError(name)
    return callback.code


def _random() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _associated_data(state: bytes) -> str:
    return f"login_attempts.secrets {state.hex()}"
