"""Mode `proxy`: the users that an OAuth2 Proxy identifies, and forged headers from other peers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.api.auth.tokens import Tokens
from headrace.settings import SAMPLE_SECRET, Settings
from support.harness import Api
from support.users import PROXY_SECRET, Person, bearer, behind_proxy, named, open_proxied


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


async def me(api: Api, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    response = await api.http.get("/api/v1/me", headers=headers)
    return response.status_code, response.json()


async def test_the_headers_of_oauth2_proxy_identify_a_user(api: Api) -> None:
    headers = {
        "X-Headrace-Proxy-Secret": PROXY_SECRET,
        "X-Forwarded-User": "0f1e2d3c",
        "X-Forwarded-Email": "ada@example.com",
        "X-Forwarded-Preferred-Username": "ada",
        "X-Forwarded-Groups": "staff",
        "X-Forwarded-Access-Token": "the provider's own",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "jobs.example.com",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Uri": "/api/v1/me",
        "X-Real-Ip": "203.0.113.9",
    }

    status, user = await me(api, headers)

    assert (status, user["username"], user["email"]) == (200, "ada", "ada@example.com")
    assert (user["auth"], user["is_admin"]) == ("proxy", False)


async def test_the_user_header_or_the_email_replaces_a_missing_username(api: Api) -> None:
    secret = {"X-Headrace-Proxy-Secret": PROXY_SECRET}

    _, by_user = await me(api, {**secret, "X-Forwarded-User": "bob"})
    _, by_email = await me(api, {**secret, "X-Forwarded-Email": "eve@example.com"})

    assert (by_user["username"], by_email["username"]) == ("bob", "eve@example.com")


async def test_concurrent_requests_create_a_user_once_and_update_the_last_login(
    api: Api, database: StatementPool
) -> None:
    responses = await asyncio.gather(*(me(api, named("ada")) for _ in range(20)))
    first = await database.fetch("SELECT id, last_login_at FROM users WHERE username = 'ada'")

    await asyncio.sleep(1)
    await me(api, named("ada", "ada@example.com"))
    later = await database.fetch("SELECT last_login_at, email FROM users WHERE username = 'ada'")

    assert {user["id"] for _, user in responses} == {str(first[0]["id"])}
    assert len(first) == 1
    assert later[0]["last_login_at"] > first[0]["last_login_at"]
    assert later[0]["email"] == "ada@example.com"


async def test_only_the_trusted_proxy_may_name_a_user(api: Api, database: StatementPool) -> None:
    with capture_logs() as logs:
        spoofed = await me(api, {"X-Forwarded-User": "root"})
        wrong = await me(api, {**named("root"), "X-Headrace-Proxy-Secret": "a guess"})
    users = await database.fetch("SELECT username FROM users WHERE username = 'root'")

    assert [status for status, _ in (spoofed, wrong)] == [401, 401]
    assert spoofed[1]["code"] == "token_invalid"
    assert [line["peer"] for line in logs if line["event"] == "spoofed_identity"] == ["127.0.0.1"] * 2
    assert users == []


async def test_requests_without_identity_headers_get_401(api: Api) -> None:
    response = await api.http.get("/api/v1/jobs")

    assert (response.status_code, response.json()["code"]) == (401, "token_missing")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "sent",
    [
        [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "root")],
        [("X-Forwarded-User", "")],
        [("X-Forwarded-User", "a" * 256)],
        [("X-Forwarded-User", "a\tb")],
        [("X-Forwarded-Preferred-Username", "a" * 256), ("X-Forwarded-User", "ada")],
        [("X-Forwarded-User", b"\xff\xfe")],
    ],
)
async def test_invalid_and_ambiguous_identity_headers_are_refused(
    api: Api, sent: list[tuple[str, Any]]
) -> None:
    secret = ("X-Headrace-Proxy-Secret", PROXY_SECRET)

    response = await api.http.get("/api/v1/me", headers=[secret, *sent])

    assert (response.status_code, response.json()["code"]) == (401, "token_invalid")


async def test_admins_are_named_by_username_or_email(api: Api) -> None:
    results = [
        await me(api, named("root")),
        await me(api, named("x", "boss@example.com")),
        await me(api, named("y")),
        await me(api, named("boss@example.com", "z@example.com")),
    ]

    assert [user["is_admin"] for _, user in results] == [True, True, False, False]


async def test_a_trusted_network_needs_no_secret(settings: Settings) -> None:
    trusting = msgspec.structs.replace(settings, trusted_proxies=("127.0.0.0/8",))
    distrusting = msgspec.structs.replace(settings, trusted_proxies=("10.0.0.0/8",))

    async with open_proxied(trusting) as api:
        trusted = await me(api, {"X-Forwarded-User": "ada"})
    async with open_proxied(distrusting) as api:
        distrusted = await me(api, {"X-Forwarded-User": "ada", "X-Forwarded-For": "10.0.0.1"})

    assert (trusted[0], trusted[1]["username"]) == (200, "ada")
    assert distrusted[0] == 401


async def test_authorization_headers_added_by_the_proxy_are_ignored(api: Api) -> None:
    added = [
        await me(api, {**named("ada"), "Authorization": credentials})
        for credentials in ("Basic YTpi", "Bearer a.b.c")
    ]

    assert [(status, user["username"]) for status, user in added] == [(200, "ada")] * 2


async def test_concurrent_requests_of_a_user_share_the_user_lookup(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = api.app.state.services.authenticator
    # On a slow machine the requests take longer than a lookup stays in the cache.
    monkeypatch.setattr(authenticator._cache, "now", lambda: 0.0)
    repository = authenticator._repository
    usernames = []
    upsert = repository.upsert_proxy_user

    async def counting(username: str, email: str | None) -> Any:
        usernames.append(username)
        return await upsert(username, email)

    monkeypatch.setattr(repository, "upsert_proxy_user", counting)
    responses = await asyncio.gather(*(me(api, named("ada")) for _ in range(50)))

    assert {status for status, _ in responses} == {200}
    assert len(usernames) <= 2


async def test_the_public_url_is_an_allowed_origin(settings: Settings) -> None:
    async with open_proxied(settings, public_url="https://jobs.example.com") as api:
        response = await Person(api, "ada").ask(
            "POST", "/jobs", json={"pipeline": "noop"}, headers={"Origin": "https://jobs.example.com"}
        )

    assert response.status_code == 202


async def test_the_sample_secret_cannot_forge_job_tokens(settings: Settings) -> None:
    async with open_proxied(settings, secret_key=SAMPLE_SECRET, job_token_key=None) as api:
        ada = Person(api, "ada")
        job_id = await ada.submit()
        now = datetime.now(UTC)
        forged = Tokens(SAMPLE_SECRET, None).issue_job(
            UUID(job_id), "cancel", now=now, until=now + timedelta(hours=1)
        )

        created = await ada.ask("POST", f"/jobs/{job_id}/tokens", json={})
        responses = [
            await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(token))
            for token in (forged, created.json()["token"])
        ]

    assert [response.status_code for response in responses] == [401, 200]


async def test_a_foreign_origin_cannot_use_the_proxys_cookie(api: Api) -> None:
    ada = Person(api, "ada")
    job_id = await ada.submit()

    foreign = await ada.ask("POST", f"/jobs/{job_id}/cancel", headers={"Origin": "https://evil.example"})
    own = await ada.ask("POST", f"/jobs/{job_id}/cancel", headers={"Origin": str(api.http.base_url)})

    assert (foreign.status_code, foreign.json()["code"]) == (403, "origin_refused")
    assert own.status_code == 202
