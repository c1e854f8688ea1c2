"""Any OpenID Connect provider, known by its issuer alone."""

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
_AWAY_SECONDS: Final = 2.0
_KNOWN_SECONDS: Final = 3600.0


class _Discovery(Struct, frozen=True):
    """What the issuer says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class OidcProvider:
    """Asks the issuer where everything is when somebody first signs in, and again after an hour."""

    def __init__(self, name: str, issuer: str, link: OAuthClient, *, has_secret: bool) -> None:
        self.name = name
        self._issuer = issuer
        self._link = link
        self._has_secret = has_secret
        self._discovery: _Discovery | None = None
        self._keys: KeySet | None = None
        self._away_until = 0.0
        self._known_until = 0.0
        self._asking = asyncio.Lock()

    async def authorize_url(self, trip: AuthorizationRequest, prompt: str | None) -> str:
        discovery = await self._discover()
        return self._link.authorize_url(
            discovery.authorization_endpoint, trip, nonce=trip.nonce, prompt=prompt
        )

    async def fetch_identity(self, trip: AuthorizationRequest, code: str) -> ProviderIdentity:
        discovery = await self._discover()
        answer = await self._link.exchange_code(
            discovery.token_endpoint, trip, code, self._auth_method(discovery)
        )
        claims = await self._read(answer.get("id_token"), discovery, trip)
        if "email" not in claims and discovery.userinfo_endpoint:
            said = await self._link.read_json(discovery.userinfo_endpoint, answer["access_token"])
            if isinstance(said, dict) and said.get("sub") == claims["sub"]:
                claims = {**said, **claims}
        email = verified_email(claims.get("email"), claims.get("email_verified"))
        wishes = (claims.get("preferred_username"), claims.get("nickname"), claims.get("name"))
        return ProviderIdentity(
            Profile(claims["sub"], wished_name(*wishes, email and email.partition("@")[0]), email)
        )

    async def close(self) -> None:
        await self._link.close()

    async def _read(self, text: object, discovery: _Discovery, trip: AuthorizationRequest) -> dict[str, Any]:
        expected = {
            "provider": self.name,
            "issuer": discovery.issuer,
            "client_id": self._link.client_id,
            "nonce": trip.nonce,
        }
        keys = self._keys or await self._fetch_keys(discovery)
        try:
            return read_id_token(text, keys, **expected)
        except UnknownKeyError:
            # Keys are exchanged now and then; once is enough to see the new ones.
            keys = await self._fetch_keys(discovery)
        try:
            return read_id_token(text, keys, **expected)
        except UnknownKeyError as error:
            raise IdTokenRefusedError(self.name, "it is signed with an unknown key") from error

    async def _fetch_keys(self, discovery: _Discovery) -> KeySet:
        self._keys = import_keys(await self._link.read_json(discovery.jwks_uri))
        return self._keys

    async def _discover(self) -> _Discovery:
        async with self._asking:
            if self._discovery is None or time.monotonic() > self._known_until:
                # Who has waited for another's question in vain does not ask the same again.
                if time.monotonic() < self._away_until:
                    raise ProviderAwayError(self.name, "it did not answer a moment ago")
                try:
                    said = await self._link.read_json(
                        self._issuer.rstrip("/") + "/.well-known/openid-configuration"
                    )
                except ProviderAwayError:
                    self._away_until = time.monotonic() + _AWAY_SECONDS
                    raise
                self._discovery = self._checked(said)
                self._keys = None
                self._known_until = time.monotonic() + _KNOWN_SECONDS
            return self._discovery

    def _checked(self, said: Any) -> _Discovery:
        try:
            discovery = msgspec.convert(said, _Discovery)
        except msgspec.ValidationError as error:
            raise ProviderAwayError(self.name, "it does not say where things are") from error
        if discovery.issuer.rstrip("/") != self._issuer.rstrip("/"):
            raise ProviderAwayError(self.name, "it has another issuer than is configured")
        schemes = {"https", urlsplit(self._issuer).scheme}
        endpoints = (discovery.authorization_endpoint, discovery.token_endpoint, discovery.jwks_uri)
        for url in (*endpoints, discovery.userinfo_endpoint or self._issuer):
            if urlsplit(url).scheme not in schemes:
                raise ProviderAwayError(self.name, "one of its addresses is not https")
        return discovery

    def _auth_method(self, discovery: _Discovery) -> str:
        if not self._has_secret:
            return "none"
        supported = discovery.token_endpoint_auth_methods_supported
        is_basic = "client_secret_basic" in supported or "client_secret_post" not in supported
        return "client_secret_basic" if is_basic else "client_secret_post"
