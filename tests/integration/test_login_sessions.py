"""Login sessions: refresh, token reuse, sign-out, and use by browsers and programs."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from headrace.domain.accounts.login_attempt_repository import LOGIN_EXPIRY
from headrace.domain.accounts.session_repository import SESSION_EXPIRY
from support.browser import Browser
from support.fake_provider import ProviderUser
from support.login_env import ADMIN, LoginEnv
from support.retention import prune_expired

JOBS = "/api/v1/jobs"
BODY = {"pipeline": "noop"}


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


async def tokens_of(browser: Browser) -> dict[str, Any]:
    body: dict[str, Any] = (await browser.sign_in("corp", mode="token")).json()
    return body


async def refresh(login_env: LoginEnv, session: dict[str, Any]) -> httpx.Response:
    body = {"refresh_token": session["refresh_token"]}
    return await login_env.api.http.post("/auth/refresh", json=body)


async def until_refused(browser: Browser, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return the first response that is not a 200: no request that begins a second from now gets one."""
    loop = asyncio.get_running_loop()
    accepted_before = loop.time() + 1.0
    while True:
        began = loop.time()
        response = await browser.get(JOBS, headers=headers or {})
        if response.status_code != 200:
            return response
        assert began < accepted_before
        await asyncio.sleep(0.02)


async def test_a_refresh_returns_new_tokens_and_the_old_access_token_stays_valid(
    login_env: LoginEnv, browser: Browser
) -> None:
    old = await tokens_of(browser)

    response = await refresh(login_env, old)

    new = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert new.keys() == old.keys()
    assert new["refresh_token"] != old["refresh_token"]
    for session in (old, new):
        assert (await browser.get(JOBS, headers=bearer(session))).status_code == 200


async def test_refresh_tokens_rotate_while_each_is_used_once(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)

    for _ in range(5):
        response = await refresh(login_env, session)
        assert response.status_code == 200
        session = response.json()

    [row] = await login_env.database.fetch("SELECT generation, revoked_at FROM login_sessions")
    assert (row["generation"], row["revoked_at"]) == (5, None)


async def test_reusing_a_refresh_token_ends_the_whole_session(login_env: LoginEnv, browser: Browser) -> None:
    stolen = await tokens_of(browser)
    kept = (await refresh(login_env, stolen)).json()
    newest = (await refresh(login_env, kept)).json()
    assert (await browser.get(JOBS, headers=bearer(newest))).status_code == 200

    reused = await refresh(login_env, stolen)

    assert refusal(reused) == (401, "token_invalid")
    assert refusal(await refresh(login_env, newest)) == (401, "token_invalid")
    assert refusal(await until_refused(browser, bearer(newest))) == (401, "token_invalid")


async def test_two_concurrent_refreshes_with_one_token_end_the_session(
    login_env: LoginEnv, browser: Browser
) -> None:
    session = await tokens_of(browser)

    responses = await asyncio.gather(refresh(login_env, session), refresh(login_env, session))

    assert sorted(response.status_code for response in responses) == [200, 401]
    winner = next(response for response in responses if response.status_code == 200)
    assert refusal(await refresh(login_env, winner.json())) == (401, "token_invalid")


async def test_ending_one_session_keeps_the_users_other_sessions(login_env: LoginEnv) -> None:
    phone, laptop = await tokens_of(login_env.browser()), await tokens_of(login_env.browser())
    await refresh(login_env, phone)

    await refresh(login_env, phone)

    assert (await refresh(login_env, laptop)).status_code == 200


async def test_a_browser_refreshes_by_cookie_and_gets_no_tokens_in_the_body(browser: Browser) -> None:
    await browser.sign_in("corp")
    before = dict(browser.cookies)

    response = await browser.post("/auth/refresh")

    assert response.status_code == 200
    assert response.json() == {
        "access_token": None,
        "token_type": "bearer",
        "expires_in": 600,
        "refresh_token": None,
    }
    assert browser.cookies["headrace_refresh"] != before["headrace_refresh"]
    assert browser.cookies["headrace_csrf"] == before["headrace_csrf"]
    assert (await browser.get(JOBS)).status_code == 200


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_a_foreign_origin_can_neither_refresh_nor_end_a_session(path: str, browser: Browser) -> None:
    await browser.sign_in("corp")

    refused = [
        await browser.call("POST", path, headers={"Origin": origin})
        for origin in ("https://example.org", "null", "http://127.0.0.1:1")
    ]

    assert [refusal(response) for response in refused] == [(403, "origin_refused")] * 3
    assert (await browser.post("/auth/refresh")).status_code == 200


async def test_writes_with_cookies_require_a_csrf_token_and_the_services_origin(
    login_env: LoginEnv, browser: Browser
) -> None:
    await browser.sign_in("corp")
    other = login_env.browser()
    await other.sign_in("corp")
    good = {"X-CSRF-Token": browser.cookies["headrace_csrf"]}

    without = await browser.call("POST", JOBS, json=BODY)
    wrong = await browser.call(
        "POST", JOBS, json=BODY, headers={"X-CSRF-Token": other.cookies["headrace_csrf"]}
    )
    foreign = await browser.call("POST", JOBS, json=BODY, headers={**good, "Origin": "https://example.org"})
    ours = await browser.post(JOBS, json=BODY)

    assert [refusal(response) for response in (without, wrong, foreign)] == [(403, "origin_refused")] * 3
    assert refusal(ours) == (422, "pipeline_unknown")  # allowed, but no worker has registered it


async def test_a_bearer_token_needs_no_csrf_token(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)

    response = await login_env.api.http.post(JOBS, json=BODY, headers=bearer(session))

    assert refusal(response) == (422, "pipeline_unknown")


async def test_signing_out_ends_the_session_and_clears_the_cookies(
    login_env: LoginEnv, browser: Browser
) -> None:
    await browser.sign_in("corp")
    copied = login_env.browser()
    copied.cookies, copied.paths = dict(browser.cookies), dict(browser.paths)
    assert (await copied.get(JOBS)).status_code == 200

    response = await browser.post("/auth/logout")

    assert response.status_code == 204
    assert sorted(browser.cookies) == ["headrace_login"]
    assert refusal(await browser.get(JOBS)) == (401, "token_missing")
    assert refusal(await until_refused(copied)) == (401, "token_invalid")
    assert refusal(await copied.post("/auth/refresh")) == (401, "token_invalid")
    again = await copied.post("/auth/logout")
    assert again.status_code == 204


async def test_a_client_can_sign_out_with_its_bearer_token(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)

    ended = await login_env.api.http.post("/auth/logout", headers=bearer(session))
    garbage = await login_env.api.http.post("/auth/logout", headers={"Authorization": "Bearer x"})

    assert ended.status_code == 204
    assert refusal(garbage) == (401, "token_invalid")
    assert refusal(await refresh(login_env, session)) == (401, "token_invalid")


async def test_an_admin_can_end_all_sessions_of_a_user(login_env: LoginEnv) -> None:
    phone, laptop = await tokens_of(login_env.browser()), await tokens_of(login_env.browser())
    [ada] = await login_env.users()
    login_env.provider.person = ProviderUser(sub="boss", name="boss", email=ADMIN)
    admin = await tokens_of(login_env.browser())
    url = f"/api/v1/users/{ada['id']}/sessions"
    [before] = await login_env.database.fetch("SELECT count(*) AS entries FROM audit_entries")

    by_herself = await login_env.api.http.delete(url, headers=bearer(laptop))
    ended = await login_env.api.http.delete(url, headers=bearer(admin))
    unknown_user = await login_env.api.http.delete(
        url.replace(str(ada["id"]), str(uuid4())), headers=bearer(admin)
    )

    assert refusal(by_herself) == (403, "forbidden")
    assert ended.status_code == 204
    assert refusal(unknown_user) == (404, "user_not_found")
    for session in (phone, laptop):
        assert refusal(await refresh(login_env, session)) == (401, "token_invalid")
        assert refusal(await until_refused(login_env.browser(), bearer(session))) == (401, "token_invalid")
    assert (await refresh(login_env, admin)).status_code == 200
    entries = await login_env.database.fetch(
        "SELECT action, object_id FROM audit_entries ORDER BY at OFFSET $1", before["entries"]
    )
    assert [(entry["action"], entry["object_id"]) for entry in entries] == [("endSessions", str(ada["id"]))]


async def test_the_session_of_a_deleted_user_ends(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)
    assert (await browser.get(JOBS, headers=bearer(session))).status_code == 200

    await login_env.database.fetch("DELETE FROM users")

    assert refusal(await until_refused(browser, bearer(session))) == (401, "token_invalid")
    assert refusal(await refresh(login_env, session)) == (401, "token_invalid")


async def test_a_refresh_does_not_extend_the_life_of_a_session(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)
    [row] = await login_env.database.fetch(
        "SELECT extract(epoch FROM expires_at - created_at) AS seconds FROM login_sessions"
    )
    renewed = (await refresh(login_env, session)).json()
    [later] = await login_env.database.fetch(
        "SELECT extract(epoch FROM expires_at - created_at) AS seconds FROM login_sessions"
    )
    await login_env.database.fetch("UPDATE login_sessions SET expires_at = statement_timestamp()")

    response = await refresh(login_env, renewed)

    assert (row["seconds"], later["seconds"]) == (30 * 86_400, 30 * 86_400)
    assert refusal(response) == (401, "token_invalid")
    assert refusal(await until_refused(browser, bearer(renewed))) == (401, "token_invalid")


async def test_invalid_refresh_requests_are_refused(login_env: LoginEnv, browser: Browser) -> None:
    session = await tokens_of(browser)
    bodies: list[dict[str, Any]] = [
        {"refresh_token": session["access_token"]},
        {"refresh_token": "x.y.z"},
        {"refresh_token": ""},
        {"refresh_token": 7},
        {"token": "x"},
        {},
    ]
    responses = [await login_env.api.http.post("/auth/refresh", json=body) for body in bodies]
    responses.append(await login_env.api.http.post("/auth/refresh"))
    form = {"refresh_token": session["refresh_token"]}
    responses.append(await login_env.api.http.post("/auth/refresh", data=form))

    assert [refusal(response) for response in responses] == [
        (401, "token_invalid"),
        (401, "token_invalid"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (401, "token_missing"),
        (415, "unsupported_media_type"),
    ]


async def test_expired_sessions_and_login_attempts_are_deleted(login_env: LoginEnv, browser: Browser) -> None:
    await browser.sign_in("corp")
    await browser.authorize("corp")
    old = login_env.browser()
    await old.sign_in("corp")
    await old.authorize("corp")
    await login_env.database.fetch("""
        UPDATE login_sessions SET expires_at = statement_timestamp() - interval '1 second'
        WHERE id = (SELECT max(id::text)::uuid FROM login_sessions)
    """)
    await login_env.database.fetch("""
        UPDATE login_attempts SET expires_at = statement_timestamp() - interval '1 second'
        WHERE state = (SELECT state FROM login_attempts LIMIT 1)
    """)

    await prune_expired(login_env.database, LOGIN_EXPIRY, SESSION_EXPIRY)

    assert len(await login_env.database.fetch("SELECT 1 FROM login_sessions")) == 1
    assert len(await login_env.database.fetch("SELECT 1 FROM login_attempts")) == 1
    assert (await browser.post("/auth/refresh")).status_code == 200
