"""A sign-in provider that speaks the real protocols: OpenID Connect, and the OAuth of GitHub and Tone3000.

It performs the checks of a real provider (PKCE, redirect, client, single use and expiry of codes). Tests can
make it misbehave.
"""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from msgspec import Struct, field

from support.harness import QuietServer
from support.patience import PATIENCE_SECONDS

CLIENT_ID = "headrace"
CLIENT_SECRET = "client secret + of % headrace"
KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})

StatusAndBody = tuple[int, Any]


class ProviderUser(Struct):
    """The user who is signed in at the provider."""

    sub: str = "0042"
    name: str = "ada"
    email: str | None = "ada@example.com"
    is_verified: bool = True


class _Grant(Struct):
    redirect_uri: str
    challenge: str
    nonce: str | None
    expires_at: float
    person: ProviderUser


class FakeProvider(Struct):
    """The provider's address, its current user, the paths that were requested, and its faults."""

    url: str = ""
    person: ProviderUser = field(default_factory=ProviderUser)
    back: dict[str, str] | None = None  # the callback's query instead of a code
    code_seconds: float = 60
    token_seconds: float = 3600
    claims: dict[str, Any] = field(default_factory=dict)  # override those of the ID token
    sign: Callable[[dict[str, Any]], str] | None = None
    keys: list[RSAKey] = field(default_factory=lambda: [KEY])
    failing: dict[str, int] = field(default_factory=dict)  # status by path
    requested_paths: list[str] = field(default_factory=list)
    grants: dict[str, _Grant] = field(default_factory=dict)
    access: dict[str, ProviderUser] = field(default_factory=dict)
    refresh: dict[str, ProviderUser] = field(default_factory=dict)
    tones: dict[int, dict[str, Any]] = field(default_factory=dict)

    def reset(self) -> None:
        """Remove all faults, users and tokens."""
        new = FakeProvider(self.url)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(new, name))

    def tokens(self, person: ProviderUser) -> dict[str, Any]:
        """Return new tokens that the provider accepts."""
        access, refresh = secrets.token_hex(16), secrets.token_hex(16)
        self.access[access] = person
        self.refresh[refresh] = person
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "bearer",
            "expires_in": self.token_seconds,
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.requested_paths.append(path)
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = (await receive())["body"] if scope["method"] == "POST" else b""
        content: Any = {"error": "server_error"}
        if path in self.failing:
            status = self.failing[path]
        elif path.endswith("/authorize"):
            status, content = self._authorize(query)
        elif path.endswith(("/token", "/access_token")):
            status, content = self._token(path, headers, parse_qs(body.decode()))
        else:
            status, content = self._read(path, query, headers)
        location = [(b"location", content.encode())] if status == 302 else []
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"application/json"), *location],
            }
        )
        await send({"type": "http.response.body", "body": msgspec.json.encode(content)})

    def _authorize(self, query: dict[str, str]) -> StatusAndBody:
        good = (
            query.get("response_type") == "code"
            and query.get("client_id") == CLIENT_ID
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and len(query.get("state", "")) > 20
        )
        if not good:
            return 400, {"error": "invalid_request"}
        code = secrets.token_hex(8)
        self.grants[code] = _Grant(
            query["redirect_uri"],
            query["code_challenge"],
            query.get("nonce"),
            time.time() + self.code_seconds,
            self.person,
        )
        callback_query = {"code": code} if self.back is None else self.back
        return 302, query["redirect_uri"] + "?" + urlencode({**callback_query, "state": query["state"]})

    def _token(self, path: str, headers: dict[str, str], form: dict[str, list[str]]) -> StatusAndBody:
        given = {name: values[0] for name, values in form.items()}
        if headers["content-type"].partition(";")[0] != "application/x-www-form-urlencoded":
            return 400, {"error": "invalid_request"}
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        is_known = headers.get("authorization") == f"Basic {basic}" or (
            given.get("client_id") == CLIENT_ID
            and ("/v1/" in path or given.get("client_secret") == CLIENT_SECRET)
        )
        if not is_known:
            return 401, {"error": "invalid_client"}
        if given["grant_type"] == "refresh_token":
            person = self.refresh.pop(given["refresh_token"], None)
            return (200, self.tokens(person)) if person else (400, {"error": "invalid_grant"})
        grant = self.grants.pop(given["code"], None)
        challenge = base64.urlsafe_b64encode(sha256(given["code_verifier"].encode()).digest()).decode()
        if (
            grant is None
            or grant.expires_at < time.time()
            or grant.redirect_uri != given["redirect_uri"]
            or grant.challenge != challenge.rstrip("=")
        ):
            if path.endswith("/access_token"):  # GitHub reports this error with 200
                return 200, {"error": "bad_verification_code"}
            return 400, {"error": "invalid_grant"}
        tokens = self.tokens(grant.person)
        if path == "/token":
            tokens["id_token"] = self._id_token(grant)
        return 200, tokens

    def _id_token(self, grant: _Grant) -> str:
        now, person = int(time.time()), grant.person
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": person.sub,
            "nonce": grant.nonce,
            "iat": now,
            "exp": now + 300,
            "preferred_username": person.name,
            "email": person.email,
            "email_verified": person.is_verified,
        } | self.claims
        if self.sign is not None:
            return self.sign(claims)
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def _read(self, path: str, query: dict[str, str], headers: dict[str, str]) -> StatusAndBody:
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "userinfo_endpoint": f"{self.url}/userinfo",
            }
        if path == "/jwks":
            return 200, KeySet(list(self.keys)).as_dict()
        person = self.access.get(headers.get("authorization", "").removeprefix("Bearer "))
        if person is None:
            return 401, {"error": "invalid_token"}
        if path == "/api/v1/models":
            return 200, self._models(int(query["tone_id"]), int(query["page"]))
        if path.startswith("/api/v1/tones/"):
            tone = self.tones.get(int(path.rpartition("/")[2]))
            return (200, tone) if tone else (404, {"error": "not_found"})
        return 200, self._people(person)[path]

    def _people(self, person: ProviderUser) -> dict[str, Any]:
        other = {"email": "other@example.com", "primary": False, "verified": True}
        primary = {"email": person.email, "primary": True, "verified": person.is_verified}
        return {
            "/api/v3/user": {"id": int(person.sub), "login": person.name, "email": "public@example.com"},
            "/api/v3/user/emails": [other, primary],
            "/api/v1/user": {"id": person.sub, "username": person.name},
            "/userinfo": {"sub": person.sub, "email": person.email, "email_verified": person.is_verified},
        }

    def _models(self, tone_id: int, page: int) -> dict[str, Any]:
        """Return a page of models, with one model on each page."""
        models = self.tones.get(tone_id, {}).get("models", [])
        return {"data": models[page - 1 : page], "page": page, "total_pages": len(models)}


@asynccontextmanager
async def providing() -> AsyncIterator[FakeProvider]:
    """Run the provider on loopback, in the event loop of the tests."""
    provider = FakeProvider()
    server = QuietServer(uvicorn.Config(provider, port=0, log_config=None, access_log=False, lifespan="off"))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not server.started:
            await asyncio.sleep(0.005)
            if running.done():
                running.result()
    provider.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield provider
    server.should_exit = True
    await asyncio.wait_for(running, PATIENCE_SECONDS)
