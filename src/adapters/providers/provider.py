"""What the service needs of a place where people sign in. Another one is a class with these three methods."""

from typing import Protocol

from msgspec import Struct

from headrace.domain.accounts.profile import Profile, ProviderTokens


class AuthorizationRequest(Struct, frozen=True, kw_only=True):
    """One way to a provider and back. *verifier* and *nonce* are secrets that only this service knows."""

    state: str
    verifier: str
    nonce: str
    redirect_uri: str


class ProviderIdentity(Struct, frozen=True):
    """Who came back. *tokens* only where the service reads there later."""

    profile: Profile
    tokens: ProviderTokens | None = None


class Provider(Protocol):
    """An OAuth 2 authorization server: authorization code with PKCE."""

    name: str

    async def authorize_url(self, trip: AuthorizationRequest, prompt: str | None) -> str:
        """Where to send a browser. *prompt* asks the provider for one of its ways to sign in.

        Raises:
            ProviderAwayError: it cannot be found out.
        """

    async def fetch_identity(self, trip: AuthorizationRequest, code: str) -> ProviderIdentity:
        """Who it is that the provider gave *code* to.

        Raises:
            CodeRefusedError: the provider does not take the code.
            IdTokenRefusedError: what it says does not hold.
            ProviderAwayError: it does not answer.
        """

    async def close(self) -> None:
        """Close the connections."""
