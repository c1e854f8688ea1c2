"""Tones of Tone3000, read with the account of whoever is signed in; its tokens are kept, and kept fresh."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from support.browser import Browser
from support.fake_provider import Person
from support.harness import serving
from support.login_env import LoginStand

TONE = "/api/v1/tone3000/tones/7"
TOKEN_PATH = "/api/v1/oauth/token"


def publish(stand: LoginStand) -> None:
    stand.provider.tones[7] = {
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


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def kept_tokens(stand: LoginStand) -> bytes | None:
    [row] = await stand.database.fetch("SELECT tokens FROM identities")
    return bytes(row["tokens"]) if row["tokens"] is not None else None


async def test_a_tone_is_shown_with_its_licence_its_maker_and_its_models(
    stand: LoginStand, browser: Browser
) -> None:
    publish(stand)
    await browser.sign_in("tone3000")

    answer = await browser.get(TONE)

    assert answer.status_code == 200
    assert answer.json() == {
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
    assert stand.provider.asked.count(TOKEN_PATH) == 1


async def test_the_tokens_are_not_readable_where_they_are_kept(stand: LoginStand, browser: Browser) -> None:
    await browser.sign_in("tone3000")

    kept = await kept_tokens(stand)

    assert kept is not None
    [access], [refresh] = stand.provider.access, stand.provider.refresh
    for secret in (access.encode(), refresh.encode(), bytes.fromhex(access), b"access_token"):
        assert secret not in kept


async def test_no_secret_is_written_to_the_log(
    stand: LoginStand, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    publish(stand)
    stand.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    secrets = [*stand.provider.access, *stand.provider.refresh, *browser.cookies.values()]

    await browser.get(TONE)
    await browser.post("/auth/refresh")
    stand.provider.back = {"code": "a code that is refused"}
    await browser.sign_in("tone3000")
    await browser.sign_in("corp")

    secrets += [*stand.provider.access, *stand.provider.refresh, *browser.cookies.values(), "a code"]
    # What the harness's servers say of their requests is off in a real one.
    written = [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]
    assert any("provider_refused" in line for line in written)
    assert not [line for line in written for secret in secrets if secret in line]


async def test_tokens_that_are_moved_to_another_row_do_not_open(stand: LoginStand, browser: Browser) -> None:
    publish(stand)
    await browser.sign_in("tone3000")
    thief = stand.browser()
    stand.provider.person = Person(sub="0666", name="eve")
    await thief.sign_in("tone3000")
    await stand.database.fetch("""
        UPDATE identities SET tokens = (SELECT tokens FROM identities WHERE subject = '0042')
        WHERE subject = '0666'
    """)

    assert refusal(await thief.get(TONE)) == (409, "not_connected")
    assert (await browser.get(TONE)).status_code == 200


async def test_nobody_reads_tones_without_an_account_there(stand: LoginStand, browser: Browser) -> None:
    anonymous = await browser.get(TONE)
    await browser.sign_in("corp")

    unconnected = await browser.get(TONE)

    assert refusal(anonymous) == (401, "token_missing")
    assert refusal(unconnected) == (409, "not_connected")


async def test_a_tone_that_is_not_there_is_missing(stand: LoginStand, browser: Browser) -> None:
    await browser.sign_in("tone3000")

    for path in (TONE, "/api/v1/tone3000/tones/0", "/api/v1/tone3000/tones/99999999999999999999"):
        assert refusal(await browser.get(path)) == (404, "tone_not_found")


async def test_without_the_provider_there_are_no_tones(stand: LoginStand) -> None:
    without = msgspec.structs.replace(
        stand.settings, provider_settings=tuple(stand.settings.provider_settings[:1])
    )
    session = (await stand.browser().sign_in("corp", mode="token")).json()

    async with serving(without) as api:
        answer = await api.http.get(TONE, headers={"Authorization": f"Bearer {session['access_token']}"})

    assert refusal(answer) == (404, "provider_not_found")


async def test_tokens_are_renewed_before_they_end_once_for_all_who_wait(
    stand: LoginStand, browser: Browser
) -> None:
    publish(stand)
    stand.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    before = await kept_tokens(stand)
    stand.provider.token_seconds = 3600

    answers = await asyncio.gather(*(browser.get(TONE) for _ in range(8)))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert stand.provider.asked.count(TOKEN_PATH) == 2
    assert await kept_tokens(stand) not in (before, None)
    assert (await browser.get(TONE)).status_code == 200
    assert stand.provider.asked.count(TOKEN_PATH) == 2


async def test_a_token_that_is_refused_before_its_end_is_renewed_once(
    stand: LoginStand, browser: Browser
) -> None:
    publish(stand)
    await browser.sign_in("tone3000")
    stand.provider.access.clear()

    answers = await asyncio.gather(*(browser.get(TONE) for _ in range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert stand.provider.asked.count(TOKEN_PATH) == 2


async def test_a_connection_that_cannot_be_renewed_is_forgotten_until_the_next_sign_in(
    stand: LoginStand, browser: Browser
) -> None:
    publish(stand)
    await browser.sign_in("tone3000")
    stand.provider.access.clear()
    stand.provider.refresh.clear()

    answer = await browser.get(TONE)

    assert refusal(answer) == (409, "not_connected")
    assert await kept_tokens(stand) is None
    await browser.sign_in("tone3000")
    assert (await browser.get(TONE)).status_code == 200


async def test_what_another_process_has_renewed_is_used(stand: LoginStand, browser: Browser) -> None:
    publish(stand)
    session: dict[str, Any] = (await browser.sign_in("tone3000", mode="token")).json()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    stand.provider.access.clear()

    async with serving(stand.settings) as other:
        answers = await asyncio.gather(
            *(api.http.get(TONE, headers=headers) for api in (stand.api, other) for _ in range(3))
        )

    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(stand.provider.refresh) == 1


async def test_tone3000_in_trouble_is_away_and_costs_no_connection(
    stand: LoginStand, browser: Browser
) -> None:
    publish(stand)
    stand.provider.token_seconds = 59
    await browser.sign_in("tone3000")
    found = []
    for path, status in (
        (TOKEN_PATH, 503),
        (TOKEN_PATH, 429),
        ("/api/v1/tones/7", 500),
        ("/api/v1/tones/7", 429),
        ("/api/v1/models", 418),
    ):
        stand.provider.failing = {path: status}
        found.append(refusal(await browser.get(TONE)))
    stand.provider.failing = {}

    assert found == [(503, "provider_unavailable")] * 5
    assert (await browser.get(TONE)).status_code == 200
