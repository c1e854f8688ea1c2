"""GitHub: OAuth 2 without ID tokens, so it is asked who somebody is."""

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

    def __init__(self, name: str, base: str, link: OAuthClient) -> None:
        self.name = name
        self._base = base.rstrip("/")
        self._api = _API if self._base == GITHUB else f"{self._base}/api/v3"
        self._link = link

    async def authorize_url(self, trip: AuthorizationRequest, prompt: str | None) -> str:
        return self._link.authorize_url(f"{self._base}/login/oauth/authorize", trip, prompt=prompt)

    async def fetch_identity(self, trip: AuthorizationRequest, code: str) -> ProviderIdentity:
        answer = await self._link.exchange_code(
            f"{self._base}/login/oauth/access_token", trip, code, "client_secret_post"
        )
        token = answer["access_token"]
        user = await self._link.read_json(f"{self._api}/user", token)
        number = user.get("id") if isinstance(user, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise ProviderAwayError(self.name, "it does not say who that is")
        return ProviderIdentity(
            Profile(str(number), wished_name(user.get("login")), await self._email(token))
        )

    async def close(self) -> None:
        await self._link.close()

    async def _email(self, token: str) -> str | None:
        """The primary address, if it is verified; None also where the user did not let us see it."""
        status, body = await self._link.read(f"{self._api}/user/emails", token)
        if status != 200:
            return None
        try:
            listed: list[dict[str, Any]] = msgspec.json.decode(body, type=list[dict[str, Any]])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProviderAwayError(self.name, "its answer is not JSON") from error
        primary = next((entry for entry in listed if entry.get("primary") is True), {})
        return verified_email(primary.get("email"), primary.get("verified"))
