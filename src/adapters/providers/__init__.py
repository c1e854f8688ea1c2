"""The sign-in providers, one module per kind."""

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
    """Build the providers by name: `github`, `tone3000`, and any other as an OpenID Connect issuer."""
    # Shared by all: reading the CA certificates takes a while.
    ssl_context = httpx.create_ssl_context()
    return {settings.name: _build(settings, ssl_context, timeout_seconds) for settings in configured}


def _build(settings: ProviderSettings, ssl_context: ssl.SSLContext, timeout_seconds: float) -> Provider:
    client = OAuthClient(
        settings.name,
        settings.client_id,
        settings.client_secret,
        scope={"github": github.SCOPE, "tone3000": None}.get(settings.name, oidc.SCOPE),
        ssl_context=ssl_context,
        timeout_seconds=timeout_seconds,
    )
    if settings.name == "github":
        return GitHubProvider(settings.name, settings.issuer or github.GITHUB, client)
    if settings.name == "tone3000":
        return Tone3000Provider(settings.name, settings.issuer or tone3000.TONE3000, client)
    return OidcProvider(settings.name, settings.issuer or "", client, has_secret=bool(settings.client_secret))
