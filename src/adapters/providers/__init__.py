"""Where people sign in: one module a kind of provider."""

import ssl
from collections.abc import Iterable

import httpx

from headrace.adapters.providers import github, oidc, tone3000
from headrace.adapters.providers.github import GitHubProvider
from headrace.adapters.providers.oauth_client import TIMEOUT_SECONDS, OAuthClient
from headrace.adapters.providers.oidc import OidcProvider
from headrace.adapters.providers.provider import Provider
from headrace.adapters.providers.tone3000 import Tone3000Provider
from headrace.settings import ProviderSettings


def build_providers(
    configured: Iterable[ProviderSettings], timeout_seconds: float = TIMEOUT_SECONDS
) -> dict[str, Provider]:
    """The providers by name: `github` and `tone3000` are known, any other is an OpenID Connect issuer."""
    # One for all: it reads the certificates of the authorities, which takes a while.
    trust = httpx.create_ssl_context()
    return {one.name: _build(one, trust, timeout_seconds) for one in configured}


def _build(one: ProviderSettings, trust: ssl.SSLContext, timeout_seconds: float) -> Provider:
    link = OAuthClient(
        one.name,
        one.client_id,
        one.client_secret,
        scope={"github": github.SCOPE, "tone3000": None}.get(one.name, oidc.SCOPE),
        trust=trust,
        timeout_seconds=timeout_seconds,
    )
    if one.name == "github":
        return GitHubProvider(one.name, one.issuer or github.GITHUB, link)
    if one.name == "tone3000":
        return Tone3000Provider(one.name, one.issuer or tone3000.TONE3000, link)
    return OidcProvider(one.name, one.issuer or "", link, has_secret=bool(one.client_secret))
