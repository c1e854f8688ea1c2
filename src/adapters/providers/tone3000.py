"""Tone3000: OAuth 2 with a publishable client id. Its tokens are stored, because tones are read with them."""

import time
from typing import Any, Final

from headrace.adapters.providers.oauth_client import OAuthClient
from headrace.adapters.providers.provider import AuthorizationRequest, ProviderIdentity
from headrace.domain.accounts.profile import Profile, ProviderTokens, is_subject, wished_name
from headrace.domain.accounts.sign_in_errors import ProviderAwayError

TONE3000: Final = "https://www.tone3000.com"


class Tone3000Provider:
    """tone3000.com, or a replacement at *base*."""

    def __init__(self, name: str, base: str, client: OAuthClient) -> None:
        self.name = name
        self.api = base.rstrip("/") + "/api/v1"
        self.client = client

    async def authorize_url(self, request: AuthorizationRequest, prompt: str | None) -> str:
        return self.client.authorize_url(f"{self.api}/oauth/authorize", request, prompt=prompt)

    async def fetch_identity(self, request: AuthorizationRequest, code: str) -> ProviderIdentity:
        tokens = _tokens(await self.client.exchange_code(f"{self.api}/oauth/token", request, code))
        user = await self.client.get_json(f"{self.api}/user", tokens.access_token)
        subject = user.get("id") if isinstance(user, dict) else None
        subject = str(subject) if isinstance(subject, int) else subject
        if not isinstance(subject, str) or not is_subject(subject):
            raise ProviderAwayError(self.name, "it does not return the user's id")
        return ProviderIdentity(Profile(subject, wished_name(user.get("username"))), tokens)

    async def refresh(self, refresh_token: str) -> ProviderTokens:
        """Exchange a refresh token for new tokens; the old one is invalid afterwards.

        Raises:
            CodeRefusedError: Tone3000 refuses the token.
            ProviderAwayError: Tone3000 does not answer.
        """
        tokens = _tokens(await self.client.refresh(f"{self.api}/oauth/token", refresh_token))
        if tokens.refresh_token is None:
            return ProviderTokens(tokens.access_token, refresh_token, tokens.expires_at)
        return tokens

    async def close(self) -> None:
        await self.client.close()


def _tokens(answer: dict[str, Any]) -> ProviderTokens:
    refresh_token, lifetime = answer.get("refresh_token"), answer.get("expires_in")
    has_lifetime = isinstance(lifetime, int | float) and not isinstance(lifetime, bool)
    return ProviderTokens(
        answer["access_token"],
        refresh_token if isinstance(refresh_token, str) else None,
        time.time() + lifetime if has_lifetime and lifetime is not None else None,
    )
