"""Signing in at a provider: what is refused on the way."""

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
from support.login_env import LoginStand


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem that let nobody in."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert "headrace_access" not in answer.headers.get("set-cookie", "")
    return answer.status_code, answer.json()["code"]


async def test_only_the_browser_that_left_may_come_back_and_once(stand: LoginStand, browser: Browser) -> None:
    forged = await stand.browser().get(await browser.leave("corp"))
    stranger = stand.browser()
    await stranger.leave("corp")
    planted = await stranger.get(await browser.leave("corp"))
    back = await browser.leave("corp")
    assert (await browser.get(back)).status_code == 302

    again = await browser.get(back)

    for answer in (forged, planted, again):
        assert refusal(answer) == (400, "state_mismatch")
    assert len(await stand.users()) == 1


async def test_nobody_comes_back_who_did_not_leave(stand: LoginStand, browser: Browser) -> None:
    back = await browser.leave("corp")

    answers = [
        await browser.get("/auth/callback/corp" + query)
        for query in ("", "?state=", "?state=unknown&code=x", "?code=x", "?error=access_denied")
    ]
    elsewhere = await browser.get(back.replace("/corp?", "/github?"))

    for answer in (*answers, elsewhere):
        assert refusal(answer) == (400, "state_mismatch")


async def test_what_a_provider_refuses_is_told(stand: LoginStand, browser: Browser) -> None:
    for back, expected in (
        ({"error": "access_denied"}, (403, "login_cancelled")),
        ({"canceled": "true"}, (403, "login_cancelled")),
        ({"error": "server_error"}, (503, "provider_unavailable")),
        ({"error": "invalid_scope"}, (400, "code_refused")),
        ({"code": ""}, (400, "code_refused")),
        ({"code": "made up"}, (400, "code_refused")),
    ):
        stand.provider.back = back
        for name in ("corp", "tone3000"):
            assert refusal(await browser.sign_in(name)) == expected

    assert await stand.users() == []


async def test_a_code_that_is_too_old_used_or_somebody_elses_is_refused(
    stand: LoginStand, browser: Browser
) -> None:
    for name in ("corp", "github", "tone3000"):
        stand.provider.back, stand.provider.code_seconds = None, -1
        expired = await browser.sign_in(name)
        stand.provider.code_seconds = 60
        backs = [await one.leave(name) for one in (browser, stand.browser())]
        used, stolen = (parse_qs(urlsplit(back).query)["code"][0] for back in backs)
        stand.provider.grants.pop(used)
        refused = [expired]
        for code in (used, stolen):
            stand.provider.back = {"code": code}
            refused.append(await browser.sign_in(name))

        assert [refusal(answer) for answer in refused] == [(400, "code_refused")] * 3
    assert await stand.users() == []


async def test_whoever_stays_away_too_long_begins_again(stand: LoginStand, browser: Browser) -> None:
    back = await browser.leave("corp")
    await stand.database.fetch("UPDATE login_attempts SET expires_at = statement_timestamp()")

    assert refusal(await browser.get(back)) == (400, "login_expired")


def none_signed(claims: dict[str, Any]) -> str:
    _, body, _ = jwt.encode({"alg": "RS256", "kid": "first"}, claims, KEY).split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def secret_signed(claims: dict[str, Any]) -> str:
    key = OctKey.import_key(CLIENT_SECRET)
    return jwt.encode({"alg": "HS256", "kid": "first"}, claims, key)


def foreign_signed(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "first"}, claims, RSAKey.generate_key(2048, {"kid": "first"}))


async def test_an_id_token_that_does_not_hold_lets_nobody_in(stand: LoginStand, browser: Browser) -> None:
    refused = []
    for claims in (
        {"nonce": "another"},
        {"aud": "another"},
        {"iss": "https://example.org"},
        {"exp": 1},
        {"sub": ""},
    ):
        stand.provider.claims = claims
        refused.append(await browser.sign_in("corp"))
    stand.provider.claims = {}
    for sign in (none_signed, secret_signed, foreign_signed):
        stand.provider.sign = sign
        refused.append(await browser.sign_in("corp"))

    assert [refusal(answer) for answer in refused] == [(400, "id_token_refused")] * 8
    assert await stand.users() == []


async def test_a_key_that_stays_unknown_is_asked_for_once(stand: LoginStand, browser: Browser) -> None:
    await browser.sign_in("corp")
    hidden = RSAKey.generate_key(2048, {"kid": "hidden"})
    stand.provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "hidden"}, claims, hidden)
    stand.provider.asked.clear()

    answer = await browser.sign_in("corp")

    assert refusal(answer) == (400, "id_token_refused")
    assert stand.provider.asked == ["/authorize", "/token", "/jwks"]


async def test_a_provider_in_trouble_is_said_to_be_away(stand: LoginStand, browser: Browser) -> None:
    stand.provider.keys = [RSAKey.generate_key(2048, {"kid": "new"})]
    for name, path in (
        ("corp", "/jwks"),
        ("corp", "/token"),
        ("github", "/api/v3/user"),
        ("tone3000", "/api/v1/oauth/token"),
    ):
        stand.provider.failing = {path: 502}
        away = await browser.sign_in(name)
        stand.provider.failing = {}

        assert refusal(away) == (503, "provider_unavailable")
        assert away.headers["retry-after"]
        assert (await browser.sign_in(name)).status_code == 302


async def test_a_provider_that_is_silent_broken_or_gone_is_away(stand: LoginStand) -> None:
    left = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    stand.provider.failing = {"/.well-known/openid-configuration": 500}
    found = []
    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        silent = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for url in (silent, stand.provider.url, "http://127.0.0.1:1"):
            one = ProviderSettings(name="corp", issuer=url, client_id="headrace")
            corp = build_providers([one], timeout_seconds=0.2)["corp"]
            with pytest.raises(ProviderAwayError) as error:
                await corp.authorize_url(
                    AuthorizationRequest(state="", verifier="", nonce="", redirect_uri=""), None
                )
            found.append(error.value.reason)
            await corp.close()
        await asyncio.wait_for(left.wait(), 5)

    assert found[0] in ("TimeoutError", "ReadTimeout")
    assert found[1:] == ["it answers 500", "ConnectError"]


async def test_nobody_is_sent_to_another_page_nor_with_what_is_no_parameter(
    stand: LoginStand, browser: Browser
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
        answer = await browser.get("/auth/login/corp", params={"return_to": address})

        assert (address, *refusal(answer)) == (address, 422, "validation_failed")
    for query in ({"prompt": "a b"}, {"prompt": "x\n"}, {"mode": "both"}, {"return_to": "/docs\n"}):
        answer = await browser.get("/auth/login/corp", params=query)

        assert refusal(answer) == (422, "validation_failed")
    assert await stand.database.fetch("SELECT 1 FROM login_attempts") == []


async def test_nobody_signs_in_at_a_provider_that_is_not_configured(
    stand: LoginStand, browser: Browser
) -> None:
    for path in ("/auth/login/gitlab", "/auth/callback/gitlab?state=x&code=y", "/auth/login/" + "x" * 300):
        answer = await browser.get(path)

        assert answer.status_code == (404)


async def test_in_another_mode_nobody_signs_in(stand: LoginStand) -> None:
    local = msgspec.structs.replace(stand.settings, auth="local", env="local")
    async with serving(local) as api:
        answers = [
            await api.http.get("/auth/login/corp"),
            await api.http.get("/auth/callback/corp"),
            await api.http.post("/auth/refresh"),
            await api.http.post("/auth/logout"),
            await api.http.get("/api/v1/tone3000/tones/7"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 5
