"""The interface of a sign-in provider. A new provider is a class with these three methods."""

from typing import Protocol

from msgspec import Struct

from headrace.domain.accounts.profile import Profile, ProviderTokens


class AuthorizationRequest(Struct, frozen=True, kw_only=True):
    """The parameters of one sign-in. *verifier* and *nonce* are secrets that only this service knows."""

    state: str
    verifier: str
    nonce: str
    redirect_uri: str


class ProviderIdentity(Struct, frozen=True):
    """The user at the provider. *tokens* are set only if the service calls the provider's API later."""

    profile: Profile
    tokens: ProviderTokens | None = None


class Provider(Protocol):
    """An OAuth 2 authorization server: authorization code with PKCE."""

    name: str

    async def authorize_url(self, request: AuthorizationRequest, prompt: str | None) -> str:
        """Return the URL to send the browser to. *prompt* selects a sign-in screen of the provider.

        Raises:
            ProviderAwayError: the provider's endpoints cannot be discovered.
        """

    async def fetch_identity(self, request: AuthorizationRequest, code: str) -> ProviderIdentity:
        """Exchange *code* and return the user that it was issued for.

        Raises:
            CodeRefusedError: the provider refuses the code.
            IdTokenRefusedError: the ID token is not valid.
            ProviderAwayError: the provider does not answer.
        """

    async def close(self) -> None:
        """Close the connections."""
