"""Tone3000: OAuth 2 with a publishable client id; its tokens are kept, since tones are read with them."""

import time
from typing import Any, Final

from headrace.adapters.providers.oauth_client import OAuthClient
from headrace.adapters.providers.provider import AuthorizationRequest, ProviderIdentity
from headrace.domain.accounts.profile import Profile, ProviderTokens, is_subject, wished_name
from headrace.domain.accounts.sign_in_errors import ProviderAwayError

TONE3000: Final = "https://www.tone3000.com"


class Tone3000Provider:
    """tone3000.com, or what stands at *base* in its place."""

    def __init__(self, name: str, base: str, link: OAuthClient) -> None:
        self.name = name
        self.api = base.rstrip("/") + "/api/v1"
        self.link = link

    async def authorize_url(self, trip: AuthorizationRequest, prompt: str | None) -> str:
        return self.link.authorize_url(f"{self.api}/oauth/authorize", trip, prompt=prompt)

    async def fetch_identity(self, trip: AuthorizationRequest, code: str) -> ProviderIdentity:
        tokens = _tokens(await self.link.exchange_code(f"{self.api}/oauth/token", trip, code))
        user = await self.link.read_json(f"{self.api}/user", tokens.access_token)
        subject = user.get("id") if isinstance(user, dict) else None
        subject = str(subject) if isinstance(subject, int) else subject
        if not isinstance(subject, str) or not is_subject(subject):
            raise ProviderAwayError(self.name, "it does not say who that is")
        return ProviderIdentity(Profile(subject, wished_name(user.get("username"))), tokens)

    async def renew(self, refresh_token: str) -> ProviderTokens:
        """New tokens for an old refresh token, which counts for nothing from then on.

        Raises:
            CodeRefusedError: Tone3000 does not take it.
            ProviderAwayError: it does not answer.
        """
        tokens = _tokens(await self.link.renew(f"{self.api}/oauth/token", refresh_token))
        if tokens.refresh_token is None:
            return ProviderTokens(tokens.access_token, refresh_token, tokens.expires_at)
        return tokens

    async def close(self) -> None:
        await self.link.close()


def _tokens(answer: dict[str, Any]) -> ProviderTokens:
    refresh, life = answer.get("refresh_token"), answer.get("expires_in")
    is_told = isinstance(life, int | float) and not isinstance(life, bool)
    return ProviderTokens(
        answer["access_token"],
        refresh if isinstance(refresh, str) else None,
        time.time() + life if is_told and life is not None else None,
    )
