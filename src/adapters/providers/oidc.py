"""Any OpenID Connect provider, configured by its issuer URL."""

import asyncio
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc.jwk import KeySet
from msgspec import Struct

from headrace.adapters.providers.id_tokens import UnknownKeyError, import_keys, read_id_token
from headrace.adapters.providers.oauth_client import OAuthClient
from headrace.adapters.providers.provider import AuthorizationRequest, ProviderIdentity
from headrace.domain.accounts.profile import Profile, verified_email, wished_name
from headrace.domain.accounts.sign_in_errors import IdTokenRefusedError, ProviderAwayError

SCOPE: Final = "openid profile email"
_RETRY_SECONDS: Final = 2.0
_DISCOVERY_SECONDS: Final = 3600.0


class _Discovery(Struct, frozen=True):
    """The issuer's metadata (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class OidcProvider:
    """An OpenID Connect provider. It discovers the endpoints at the first sign-in and again after an hour."""

    def __init__(self, name: str, issuer: str, client: OAuthClient, *, has_secret: bool) -> None:
        self.name = name
        self._issuer = issuer
        self._client = client
        self._has_secret = has_secret
        self._discovery: _Discovery | None = None
        self._keys: KeySet | None = None
        self._away_until = 0.0
        self._fresh_until = 0.0
        self._discovery_lock = asyncio.Lock()

    async def authorize_url(self, request: AuthorizationRequest, prompt: str | None) -> str:
        discovery = await self._discover()
        return self._client.authorize_url(
            discovery.authorization_endpoint, request, nonce=request.nonce, prompt=prompt
        )

    async def fetch_identity(self, request: AuthorizationRequest, code: str) -> ProviderIdentity:
        discovery = await self._discover()
        tokens = await self._client.exchange_code(
            discovery.token_endpoint, request, code, self._auth_method(discovery)
        )
        claims = await self._read_claims(tokens.get("id_token"), discovery, request)
        if "email" not in claims and discovery.userinfo_endpoint:
            userinfo = await self._client.get_json(discovery.userinfo_endpoint, tokens["access_token"])
            if isinstance(userinfo, dict) and userinfo.get("sub") == claims["sub"]:
                claims = {**userinfo, **claims}
        email = verified_email(claims.get("email"), claims.get("email_verified"))
        names = (claims.get("preferred_username"), claims.get("nickname"), claims.get("name"))
        return ProviderIdentity(
            Profile(claims["sub"], wished_name(*names, email and email.partition("@")[0]), email)
        )

    async def close(self) -> None:
        await self._client.close()

    async def _read_claims(
        self, text: object, discovery: _Discovery, request: AuthorizationRequest
    ) -> dict[str, Any]:
        expected = {
            "provider": self.name,
            "issuer": discovery.issuer,
            "client_id": self._client.client_id,
            "nonce": request.nonce,
        }
        keys = self._keys or await self._fetch_keys(discovery)
        try:
            return read_id_token(text, keys, **expected)
        except UnknownKeyError:
            # The provider may have rotated its keys: fetch them once more.
            keys = await self._fetch_keys(discovery)
        try:
            return read_id_token(text, keys, **expected)
        except UnknownKeyError as error:
            raise IdTokenRefusedError(self.name, "it is signed with an unknown key") from error

    async def _fetch_keys(self, discovery: _Discovery) -> KeySet:
        self._keys = import_keys(await self._client.get_json(discovery.jwks_uri))
        return self._keys

    async def _discover(self) -> _Discovery:
        async with self._discovery_lock:
            if self._discovery is None or time.monotonic() > self._fresh_until:
                # If the request that we waited for has just failed, do not repeat it.
                if time.monotonic() < self._away_until:
                    raise ProviderAwayError(self.name, "it did not answer a moment ago")
                try:
                    document = await self._client.get_json(
                        self._issuer.rstrip("/") + "/.well-known/openid-configuration"
                    )
                except ProviderAwayError:
                    self._away_until = time.monotonic() + _RETRY_SECONDS
                    raise
                self._discovery = self._check_discovery(document)
                self._keys = None
                self._fresh_until = time.monotonic() + _DISCOVERY_SECONDS
            return self._discovery

    def _check_discovery(self, document: Any) -> _Discovery:
        try:
            discovery = msgspec.convert(document, _Discovery)
        except msgspec.ValidationError as error:
            raise ProviderAwayError(self.name, "its discovery document is incomplete") from error
        if discovery.issuer.rstrip("/") != self._issuer.rstrip("/"):
            raise ProviderAwayError(self.name, "its issuer differs from the configured one")
        schemes = {"https", urlsplit(self._issuer).scheme}
        endpoints = (discovery.authorization_endpoint, discovery.token_endpoint, discovery.jwks_uri)
        for url in (*endpoints, discovery.userinfo_endpoint or self._issuer):
            if urlsplit(url).scheme not in schemes:
                raise ProviderAwayError(self.name, "one of its endpoints is not https")
        return discovery

    def _auth_method(self, discovery: _Discovery) -> str:
        if not self._has_secret:
            return "none"
        supported = discovery.token_endpoint_auth_methods_supported
        is_basic = "client_secret_basic" in supported or "client_secret_post" not in supported
        return "client_secret_basic" if is_basic else "client_secret_post"
