"""An OAuth client for one provider, built on Authlib, with a timeout of ten seconds per call."""

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
    # Authlib warns at each import that its httpx integration is deprecated.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

_log = structlog.get_logger(__name__)

TIMEOUT_SECONDS: Final = 10.0
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)
# Error codes for a temporary fault of the provider.
TEMPORARY_ERRORS: Final = ("server_error", "temporarily_unavailable")


class OAuthClient:
    """Calls *provider* with the configured client id and secret.

    Redirects are not followed, because they could leak secrets.
    """

    def __init__(
        self,
        provider: str,
        client_id: str,
        client_secret: str | None,
        *,
        scope: str | None,
        ssl_context: ssl.SSLContext,
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
            verify=ssl_context,
            timeout=timeout_seconds,
            headers={"Accept": "application/json", "User-Agent": "headrace"},
        )
        self._auth_method = "client_secret_basic" if client_secret else "none"

    def authorize_url(self, endpoint: str, request: AuthorizationRequest, **parameters: str | None) -> str:
        """Return the URL to send the browser to. Of *parameters* those that are None are left out."""
        url, _ = self._client.create_authorization_url(
            endpoint,
            state=request.state,
            code_verifier=request.verifier,
            redirect_uri=request.redirect_uri,
            **parameters,
        )
        return str(url)

    async def exchange_code(
        self, endpoint: str, request: AuthorizationRequest, code: str, auth_method: str | None = None
    ) -> dict[str, Any]:
        """Exchange an authorization code for tokens.

        Raises:
            CodeRefusedError: the provider refuses the code.
            ProviderAwayError: the provider does not answer.
        """
        async with self._translated_errors():
            answer = await self._client.fetch_token(
                endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=request.verifier,
                redirect_uri=request.redirect_uri,
                auth=self._auth(auth_method),
            )
            return self._check_tokens(answer)

    async def refresh(self, endpoint: str, refresh_token: str) -> dict[str, Any]:
        """Exchange a refresh token for new tokens.

        Raises:
            CodeRefusedError: the provider refuses the token.
            ProviderAwayError: the provider does not answer.
        """
        async with self._translated_errors():
            answer = await self._client.fetch_token(
                endpoint, grant_type="refresh_token", refresh_token=refresh_token, auth=self._auth(None)
            )
            return self._check_tokens(answer)

    async def get(
        self, url: str, token: str | None = None, params: dict[str, str | int] | None = None
    ) -> tuple[int, bytes]:
        """GET *url* and return status and body. *token* is sent as a bearer token.

        Raises:
            ProviderAwayError: the provider does not answer, or answers 429 or 5xx.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._translated_errors():
            answer = await self._client.request(
                "GET", url, withhold_token=True, params=params, headers=headers
            )
            if answer.status_code == 429 or answer.status_code >= 500:
                answer.raise_for_status()
            return answer.status_code, answer.content

    async def get_json(self, url: str, token: str | None = None) -> Any:
        """GET *url* and decode its JSON.

        Raises:
            ProviderAwayError: the status is not 200, or the body is not JSON.
        """
        status, body = await self.get(url, token)
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

    def _check_tokens(self, answer: Any) -> dict[str, Any]:
        # Authlib's client keeps the last token; no user's token may stay in it.
        self._client.token = None
        if not isinstance(answer.get("access_token"), str):
            raise ProviderAwayError(self.provider, "it returns no access token")
        return dict(answer)

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except AuthlibBaseError as error:
            reason = error.error if _ERROR_CODE.fullmatch(str(error.error)) else "unreadable"
            _log.warning("provider_refused", provider=self.provider, reason=reason)
            if reason in TEMPORARY_ERRORS:
                raise ProviderAwayError(self.provider, reason) from error
            raise CodeRefusedError(self.provider) from error
        except httpx.HTTPStatusError as error:
            raise ProviderAwayError(self.provider, f"it answers {error.response.status_code}") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            _log.warning("provider_away", provider=self.provider, error=type(error).__name__)
            raise ProviderAwayError(self.provider, type(error).__name__) from error
