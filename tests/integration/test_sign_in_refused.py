"""Sign-in at a provider: refused attempts."""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from headrace.adapters.providers import build_providers
from headrace.adapters.providers.provider import AuthorizationRequest
from headrace.domain.accounts.sign_in_errors import ProviderAwayError
from headrace.settings import ProviderSettings
from support.browser import Browser
from support.fake_provider import CLIENT_SECRET, KEY
from support.harness import serving
from support.login_env import LoginEnv
from support.patience import PATIENCE_SECONDS


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of a problem that sets no access cookie."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert "headrace_access" not in response.headers.get("set-cookie", "")
    return response.status_code, response.json()["code"]


async def test_a_callback_works_once_and_only_in_the_browser_that_started_it(
    login_env: LoginEnv, browser: Browser
) -> None:
    forged = await login_env.browser().get(await browser.authorize("corp"))
    stranger = login_env.browser()
    await stranger.authorize("corp")
    planted = await stranger.get(await browser.authorize("corp"))
    callback_url = await browser.authorize("corp")
    assert (await browser.get(callback_url)).status_code == 302

    again = await browser.get(callback_url)

    for response in (forged, planted, again):
        assert refusal(response) == (400, "state_mismatch")
    assert len(await login_env.users()) == 1


async def test_callbacks_without_a_matching_state_are_refused(login_env: LoginEnv, browser: Browser) -> None:
    callback_url = await browser.authorize("corp")

    responses = [
        await browser.get("/auth/callback/corp" + query)
        for query in ("", "?state=", "?state=unknown&code=x", "?code=x", "?error=access_denied")
    ]
    elsewhere = await browser.get(callback_url.replace("/corp?", "/github?"))

    for response in (*responses, elsewhere):
        assert refusal(response) == (400, "state_mismatch")


async def test_provider_errors_are_reported(login_env: LoginEnv, browser: Browser) -> None:
    for callback_query, expected in (
        ({"error": "access_denied"}, (403, "login_cancelled")),
        ({"canceled": "true"}, (403, "login_cancelled")),
        ({"error": "server_error"}, (503, "provider_unavailable")),
        ({"error": "invalid_scope"}, (400, "code_refused")),
        ({"code": ""}, (400, "code_refused")),
        ({"code": "made up"}, (400, "code_refused")),
    ):
        login_env.provider.back = callback_query
        for name in ("corp", "tone3000"):
            assert refusal(await browser.sign_in(name)) == expected

    assert await login_env.users() == []


async def test_expired_used_and_foreign_codes_are_refused(login_env: LoginEnv, browser: Browser) -> None:
    for name in ("corp", "github", "tone3000"):
        login_env.provider.back, login_env.provider.code_seconds = None, -1
        expired = await browser.sign_in(name)
        login_env.provider.code_seconds = 60
        callback_urls = [await visitor.authorize(name) for visitor in (browser, login_env.browser())]
        used, stolen = (parse_qs(urlsplit(callback_url).query)["code"][0] for callback_url in callback_urls)
        login_env.provider.grants.pop(used)
        refused = [expired]
        for code in (used, stolen):
            login_env.provider.back = {"code": code}
            refused.append(await browser.sign_in(name))

        assert [refusal(response) for response in refused] == [(400, "code_refused")] * 3
    assert await login_env.users() == []


async def test_the_callback_of_an_expired_login_attempt_is_refused(
    login_env: LoginEnv, browser: Browser
) -> None:
    callback_url = await browser.authorize("corp")
    await login_env.database.fetch("UPDATE login_attempts SET expires_at = statement_timestamp()")

    assert refusal(await browser.get(callback_url)) == (400, "login_expired")


def none_signed(claims: dict[str, Any]) -> str:
    _, body, _ = jwt.encode({"alg": "RS256", "kid": "first"}, claims, KEY).split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def secret_signed(claims: dict[str, Any]) -> str:
    key = OctKey.import_key(CLIENT_SECRET)
    return jwt.encode({"alg": "HS256", "kid": "first"}, claims, key)


def foreign_signed(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "first"}, claims, RSAKey.generate_key(2048, {"kid": "first"}))


async def test_invalid_id_tokens_are_refused(login_env: LoginEnv, browser: Browser) -> None:
    refused = []
    for claims in (
        {"nonce": "another"},
        {"aud": "another"},
        {"iss": "https://example.org"},
        {"exp": 1},
        {"sub": ""},
    ):
        login_env.provider.claims = claims
        refused.append(await browser.sign_in("corp"))
    login_env.provider.claims = {}
    for sign in (none_signed, secret_signed, foreign_signed):
        login_env.provider.sign = sign
        refused.append(await browser.sign_in("corp"))

    assert [refusal(response) for response in refused] == [(400, "id_token_refused")] * 8
    assert await login_env.users() == []


async def test_an_unknown_signing_key_is_requested_only_once(login_env: LoginEnv, browser: Browser) -> None:
    await browser.sign_in("corp")
    hidden = RSAKey.generate_key(2048, {"kid": "hidden"})
    login_env.provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "hidden"}, claims, hidden)
    login_env.provider.requested_paths.clear()

    response = await browser.sign_in("corp")

    assert refusal(response) == (400, "id_token_refused")
    assert login_env.provider.requested_paths == ["/authorize", "/token", "/jwks"]


async def test_server_errors_of_a_provider_are_reported_as_unavailable(
    login_env: LoginEnv, browser: Browser
) -> None:
    login_env.provider.keys = [RSAKey.generate_key(2048, {"kid": "new"})]
    for name, path in (
        ("corp", "/jwks"),
        ("corp", "/token"),
        ("github", "/api/v3/user"),
        ("tone3000", "/api/v1/oauth/token"),
    ):
        login_env.provider.failing = {path: 502}
        away = await browser.sign_in(name)
        login_env.provider.failing = {}

        assert refusal(away) == (503, "provider_unavailable")
        assert away.headers["retry-after"]
        assert (await browser.sign_in(name)).status_code == 302


async def test_a_silent_failing_or_unreachable_provider_is_unavailable(login_env: LoginEnv) -> None:
    disconnected = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        disconnected.set()

    login_env.provider.failing = {"/.well-known/openid-configuration": 500}
    problems = []
    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        silent = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for url in (silent, login_env.provider.url, "http://127.0.0.1:1"):
            provider_settings = ProviderSettings(name="corp", issuer=url, client_id="headrace")
            corp = build_providers([provider_settings], timeout_seconds=0.2)["corp"]
            with pytest.raises(ProviderAwayError) as error:
                await corp.authorize_url(
                    AuthorizationRequest(state="", verifier="", nonce="", redirect_uri=""), None
                )
            problems.append(error.value.reason)
            await corp.close()
        await asyncio.wait_for(disconnected.wait(), PATIENCE_SECONDS)

    assert problems[0] in ("TimeoutError", "ReadTimeout")
    assert problems[1:] == ["it answers 500", "ConnectError"]


async def test_foreign_return_urls_and_invalid_parameters_are_refused(
    login_env: LoginEnv, browser: Browser
) -> None:
    for address in (
        "https://example.org",
        "//example.org",
        "/\\example.org",
        "\\/example.org",
        "/\t/example.org",
        "/ /example.org",
        "docs",
        "",
        "javascript:alert(1)",
        "/docs\r\nSet-Cookie: a=b",
        "/\u00e4",
        "/" + "x" * 2000,
    ):
        response = await browser.get("/auth/login/corp", params={"return_to": address})

        assert (address, *refusal(response)) == (address, 422, "validation_failed")
    for query in ({"prompt": "a b"}, {"prompt": "x\n"}, {"mode": "both"}, {"return_to": "/docs\n"}):
        response = await browser.get("/auth/login/corp", params=query)

        assert refusal(response) == (422, "validation_failed")
    assert await login_env.database.fetch("SELECT 1 FROM login_attempts") == []


async def test_sign_in_at_an_unconfigured_provider_is_not_found(
    login_env: LoginEnv, browser: Browser
) -> None:
    for path in ("/auth/login/gitlab", "/auth/callback/gitlab?state=x&code=y", "/auth/login/" + "x" * 300):
        response = await browser.get(path)

        assert response.status_code == (404)


async def test_sign_in_routes_do_not_exist_in_local_mode(login_env: LoginEnv) -> None:
    local = msgspec.structs.replace(login_env.settings, auth="local", env="local")
    async with serving(local) as api:
        responses = [
            await api.http.get("/auth/login/corp"),
            await api.http.get("/auth/callback/corp"),
            await api.http.post("/auth/refresh"),
            await api.http.post("/auth/logout"),
            await api.http.get("/api/v1/tone3000/tones/7"),
        ]

    assert [response.status_code for response in responses] == [404] * 5
