"""GitHub: OAuth 2 without ID tokens, so the user is fetched from its API."""

from typing import Any, Final

import msgspec

from headrace.adapters.providers.oauth_client import OAuthClient
from headrace.adapters.providers.provider import AuthorizationRequest, ProviderIdentity
from headrace.domain.accounts.profile import Profile, verified_email, wished_name
from headrace.domain.accounts.sign_in_errors import ProviderAwayError

GITHUB: Final = "https://github.com"
SCOPE: Final = "read:user user:email"
_API: Final = "https://api.github.com"


class GitHubProvider:
    """github.com, or an Enterprise server at *base*."""

    def __init__(self, name: str, base: str, client: OAuthClient) -> None:
        self.name = name
        self._base = base.rstrip("/")
        self._api = _API if self._base == GITHUB else f"{self._base}/api/v3"
        self._client = client

    async def authorize_url(self, request: AuthorizationRequest, prompt: str | None) -> str:
        return self._client.authorize_url(f"{self._base}/login/oauth/authorize", request, prompt=prompt)

    async def fetch_identity(self, request: AuthorizationRequest, code: str) -> ProviderIdentity:
        tokens = await self._client.exchange_code(
            f"{self._base}/login/oauth/access_token", request, code, "client_secret_post"
        )
        token = tokens["access_token"]
        user = await self._client.get_json(f"{self._api}/user", token)
        user_id = user.get("id") if isinstance(user, dict) else None
        if not isinstance(user_id, int) or isinstance(user_id, bool):
            raise ProviderAwayError(self.name, "it does not return the user's id")
        return ProviderIdentity(
            Profile(str(user_id), wished_name(user.get("login")), await self._email(token))
        )

    async def close(self) -> None:
        await self._client.close()

    async def _email(self, token: str) -> str | None:
        """Return the primary address, if it is verified and the user lets us see it."""
        status, body = await self._client.get(f"{self._api}/user/emails", token)
        if status != 200:
            return None
        try:
            listed: list[dict[str, Any]] = msgspec.json.decode(body, type=list[dict[str, Any]])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProviderAwayError(self.name, "its answer is not JSON") from error
        primary = next((entry for entry in listed if entry.get("primary") is True), {})
        return verified_email(primary.get("email"), primary.get("verified"))
