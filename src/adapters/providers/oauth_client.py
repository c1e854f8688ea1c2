"""The HTTP side of one provider: OAuth by Authlib, an answer within ten seconds or none."""

import asyncio
import re
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import msgspec
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.deprecate import AuthlibDeprecationWarning

from headrace.adapters.providers.provider import AuthorizationRequest
from headrace.domain.accounts.sign_in_errors import CodeRefusedError, ProviderAwayError

with warnings.catch_warnings():
    # It would rather have a successor of httpx, and says so whenever it is imported.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

_log = structlog.get_logger(__name__)

TIMEOUT_SECONDS: Final = 10.0
_FAULT: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)
# What a provider says when the fault is its own.
TEMPORARY_ERRORS: Final = ("server_error", "temporarily_unavailable")


class OAuthClient:
    """Speaks to *provider* as the client that it knows.

    Redirects are not followed: they could take secrets along.
    """

    def __init__(
        self,
        provider: str,
        client_id: str,
        client_secret: str | None,
        *,
        scope: str | None,
        trust: ssl.SSLContext,
        timeout_seconds: float,
    ) -> None:
        self.provider = provider
        self.client_id = client_id
        self._timeout_seconds = timeout_seconds
        self._client = AsyncOAuth2Client(
            client_id,
            client_secret,
            scope=scope,
            code_challenge_method="S256",
            verify=trust,
            timeout=timeout_seconds,
            headers={"Accept": "application/json", "User-Agent": "headrace"},
        )
        self._auth_method = "client_secret_basic" if client_secret else "none"

    def authorize_url(self, endpoint: str, trip: AuthorizationRequest, **more: str | None) -> str:
        """Where to send a browser; *more* are further parameters, without those that are None."""
        url, _ = self._client.create_authorization_url(
            endpoint, state=trip.state, code_verifier=trip.verifier, redirect_uri=trip.redirect_uri, **more
        )
        return str(url)

    async def exchange_code(
        self, endpoint: str, trip: AuthorizationRequest, code: str, auth_method: str | None = None
    ) -> dict[str, Any]:
        """What the token endpoint gives for a code.

        Raises:
            CodeRefusedError: nothing.
            ProviderAwayError: it does not answer.
        """
        async with self._answering():
            answer = await self._client.fetch_token(
                endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=trip.verifier,
                redirect_uri=trip.redirect_uri,
                auth=self._auth(auth_method),
            )
            return self._checked(answer)

    async def renew(self, endpoint: str, refresh_token: str) -> dict[str, Any]:
        """What the token endpoint gives for a refresh token.

        Raises:
            CodeRefusedError: nothing.
            ProviderAwayError: it does not answer.
        """
        async with self._answering():
            answer = await self._client.fetch_token(
                endpoint, grant_type="refresh_token", refresh_token=refresh_token, auth=self._auth(None)
            )
            return self._checked(answer)

    async def read(
        self, url: str, token: str | None = None, params: dict[str, str | int] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer to GET; *token* is sent along as bearer.

        Raises:
            ProviderAwayError: there is none, or the provider is in trouble (429, 5xx).
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._answering():
            answer = await self._client.request(
                "GET", url, withhold_token=True, params=params, headers=headers
            )
            if answer.status_code == 429 or answer.status_code >= 500:
                answer.raise_for_status()
            return answer.status_code, answer.content

    async def read_json(self, url: str, token: str | None = None) -> Any:
        """The value of an answer to GET that must be there.

        Raises:
            ProviderAwayError: there is none, or it is not JSON.
        """
        status, body = await self.read(url, token)
        if status != 200:
            raise ProviderAwayError(self.provider, f"it answers {status}")
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProviderAwayError(self.provider, "its answer is not JSON") from error

    async def close(self) -> None:
        await self._client.aclose()

    def _auth(self, method: str | None) -> Any:
        return self._client.client_auth(method or self._auth_method)

    def _checked(self, answer: Any) -> dict[str, Any]:
        # The client keeps what it was given last; nobody's token is to stay there.
        self._client.token = None
        if not isinstance(answer.get("access_token"), str):
            raise ProviderAwayError(self.provider, "it gives no access token")
        return dict(answer)

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except AuthlibBaseError as error:
            reason = error.error if _FAULT.fullmatch(str(error.error)) else "unreadable"
            _log.warning("provider_refused", provider=self.provider, reason=reason)
            if reason in TEMPORARY_ERRORS:
                raise ProviderAwayError(self.provider, reason) from error
            raise CodeRefusedError(self.provider) from error
        except httpx.HTTPStatusError as error:
            raise ProviderAwayError(self.provider, f"it answers {error.response.status_code}") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            _log.warning("provider_away", provider=self.provider, error=type(error).__name__)
            raise ProviderAwayError(self.provider, type(error).__name__) from error
