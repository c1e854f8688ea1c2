"""Tone3000 with the account of the signed-in user: its tokens are stored and refreshed."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from support.browser import Browser
from support.fake_provider import ProviderUser
from support.harness import serving
from support.login_env import LoginEnv

TONE = "/api/v1/tone3000/tones/7"
TOKEN_PATH = "/api/v1/oauth/token"


def publish(login_env: LoginEnv) -> None:
    login_env.provider.tones[7] = {
        "id": 7,
        "user_id": "0099",
        "user": {"id": "0099", "username": "marshall", "avatar_url": None, "url": "https://t3k/marshall"},
        "title": "Loud",
        "gear": "amp",
        "format": "nam",
        "license": "cc-by-nc-sa",
        "url": "https://t3k/tones/7",
        "downloads_count": 3,
        "models": [
            {"id": 70, "name": "Loud 1", "size": "standard", "architecture_version": "1", "tone_id": 7},
            {
                "id": 71,
                "name": "Loud 2",
                "size": "nano",
                "architecture_version": "2",
                "model_url": "https://x",
            },
        ],
    }


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def stored_tokens(login_env: LoginEnv) -> bytes | None:
    [row] = await login_env.database.fetch("SELECT tokens FROM identities")
    return bytes(row["tokens"]) if row["tokens"] is not None else None


async def test_a_tone_is_shown_with_its_licence_its_user_and_its_models(
    login_env: LoginEnv, browser: Browser
) -> None:
    publish(login_env)
    await browser.sign_in("tone3000")

    response = await browser.get(TONE)

    assert response.status_code == 200
    assert response.json() == {
        "id": 7,
        "title": "Loud",
        "licence": "cc-by-nc-sa",
        "gear": "amp",
        "format": "nam",
        "url": "https://t3k/tones/7",
        "user": {"username": "marshall", "url": "https://t3k/marshall"},
        "models": [
            {"id": 70, "name": "Loud 1", "size": "standard", "architecture": "1"},
            {"id": 71, "name": "Loud 2", "size": "nano", "architecture": "2"},
        ],
    }
    assert login_env.provider.requested_paths.count(TOKEN_PATH) == 1


async def test_stored_tokens_are_encrypted(login_env: LoginEnv, browser: Browser) -> None:
    await browser.sign_in("tone3000")

    stored = await stored_tokens(login_env)

    assert stored is not None
    [access], [refresh] = login_env.provider.access, login_env.provider.refresh
    for secret in (access.encode(), refresh.encode(), bytes.fromhex(access), b"access_token"):
        assert secret not in stored


async def test_no_secret_is_written_to_the_log(
    login_env: LoginEnv, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    publish(login_env)
    login_env.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    secrets = [*login_env.provider.access, *login_env.provider.refresh, *browser.cookies.values()]

    await browser.get(TONE)
    await browser.post("/auth/refresh")
    login_env.provider.back = {"code": "a code that is refused"}
    await browser.sign_in("tone3000")
    await browser.sign_in("corp")

    secrets += [*login_env.provider.access, *login_env.provider.refresh, *browser.cookies.values(), "a code"]
    # The test servers log their requests; a real service does not.
    written = [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]
    assert any("provider_refused" in line for line in written)
    assert not [line for line in written for secret in secrets if secret in line]


async def test_tokens_copied_to_another_row_cannot_be_decrypted(
    login_env: LoginEnv, browser: Browser
) -> None:
    publish(login_env)
    await browser.sign_in("tone3000")
    thief = login_env.browser()
    login_env.provider.person = ProviderUser(sub="0666", name="eve")
    await thief.sign_in("tone3000")
    await login_env.database.fetch("""
        UPDATE identities SET tokens = (SELECT tokens FROM identities WHERE subject = '0042')
        WHERE subject = '0666'
    """)

    assert refusal(await thief.get(TONE)) == (409, "not_connected")
    assert (await browser.get(TONE)).status_code == 200


async def test_reading_tones_requires_a_connected_account(login_env: LoginEnv, browser: Browser) -> None:
    anonymous = await browser.get(TONE)
    await browser.sign_in("corp")

    unconnected = await browser.get(TONE)

    assert refusal(anonymous) == (401, "token_missing")
    assert refusal(unconnected) == (409, "not_connected")


async def test_an_unknown_tone_is_not_found(login_env: LoginEnv, browser: Browser) -> None:
    await browser.sign_in("tone3000")

    for path in (TONE, "/api/v1/tone3000/tones/0", "/api/v1/tone3000/tones/99999999999999999999"):
        assert refusal(await browser.get(path)) == (404, "tone_not_found")


async def test_tones_are_not_found_without_the_provider(login_env: LoginEnv) -> None:
    without = msgspec.structs.replace(
        login_env.settings, provider_settings=tuple(login_env.settings.provider_settings[:1])
    )
    session = (await login_env.browser().sign_in("corp", mode="token")).json()

    async with serving(without) as api:
        response = await api.http.get(TONE, headers={"Authorization": f"Bearer {session['access_token']}"})

    assert refusal(response) == (404, "provider_not_found")


async def test_concurrent_requests_renew_expiring_tokens_once(login_env: LoginEnv, browser: Browser) -> None:
    publish(login_env)
    login_env.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    before = await stored_tokens(login_env)
    login_env.provider.token_seconds = 3600

    responses = await asyncio.gather(*(browser.get(TONE) for _ in range(8)))

    assert [response.status_code for response in responses] == [200] * 8
    assert login_env.provider.requested_paths.count(TOKEN_PATH) == 2
    assert await stored_tokens(login_env) not in (before, None)
    assert (await browser.get(TONE)).status_code == 200
    assert login_env.provider.requested_paths.count(TOKEN_PATH) == 2


async def test_concurrent_requests_renew_a_refused_token_once(login_env: LoginEnv, browser: Browser) -> None:
    publish(login_env)
    await browser.sign_in("tone3000")
    login_env.provider.access.clear()

    responses = await asyncio.gather(*(browser.get(TONE) for _ in range(4)))

    assert [response.status_code for response in responses] == [200] * 4
    assert login_env.provider.requested_paths.count(TOKEN_PATH) == 2


async def test_a_connection_that_cannot_be_renewed_is_deleted_until_the_next_sign_in(
    login_env: LoginEnv, browser: Browser
) -> None:
    publish(login_env)
    await browser.sign_in("tone3000")
    login_env.provider.access.clear()
    login_env.provider.refresh.clear()

    response = await browser.get(TONE)

    assert refusal(response) == (409, "not_connected")
    assert await stored_tokens(login_env) is None
    await browser.sign_in("tone3000")
    assert (await browser.get(TONE)).status_code == 200


async def test_tokens_renewed_by_another_process_are_used(login_env: LoginEnv, browser: Browser) -> None:
    publish(login_env)
    session: dict[str, Any] = (await browser.sign_in("tone3000", mode="token")).json()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    login_env.provider.access.clear()

    async with serving(login_env.settings) as other:
        responses = await asyncio.gather(
            *(api.http.get(TONE, headers=headers) for api in (login_env.api, other) for _ in range(3))
        )

    assert [response.status_code for response in responses] == [200] * 6
    assert len(login_env.provider.refresh) == 1


async def test_tone3000_errors_are_reported_as_unavailable_and_keep_the_connection(
    login_env: LoginEnv, browser: Browser
) -> None:
    publish(login_env)
    login_env.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    problems = []
    for path, status in (
        (TOKEN_PATH, 503),
        (TOKEN_PATH, 429),
        ("/api/v1/tones/7", 500),
        ("/api/v1/tones/7", 429),
        ("/api/v1/models", 418),
    ):
        login_env.provider.failing = {path: status}
        problems.append(refusal(await browser.get(TONE)))
    login_env.provider.failing = {}

    assert problems == [(503, "provider_unavailable")] * 5
    assert (await browser.get(TONE)).status_code == 200
