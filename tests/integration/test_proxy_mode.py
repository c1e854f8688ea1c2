"""Mode `proxy`: users whom an OAuth2 Proxy names, and forged names from other peers."""

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
    answer = await api.http.get("/api/v1/me", headers=headers)
    return answer.status_code, answer.json()


async def test_the_headers_of_oauth2_proxy_name_a_user(api: Api) -> None:
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

    status, who = await me(api, headers)

    assert (status, who["username"], who["email"]) == (200, "ada", "ada@example.com")
    assert (who["auth"], who["is_admin"]) == ("proxy", False)


async def test_the_plain_user_header_and_the_email_stand_in_for_a_missing_name(api: Api) -> None:
    secret = {"X-Headrace-Proxy-Secret": PROXY_SECRET}

    _, by_user = await me(api, {**secret, "X-Forwarded-User": "bob"})
    _, by_email = await me(api, {**secret, "X-Forwarded-Email": "eve@example.com"})

    assert (by_user["username"], by_email["username"]) == ("bob", "eve@example.com")


async def test_a_user_is_made_once_under_a_race_and_the_last_login_moves(
    api: Api, database: StatementPool
) -> None:
    answers = await asyncio.gather(*(me(api, named("ada")) for _ in range(20)))
    first = await database.fetch("SELECT id, last_login_at FROM users WHERE username = 'ada'")

    await asyncio.sleep(1)
    await me(api, named("ada", "ada@example.com"))
    later = await database.fetch("SELECT last_login_at, email FROM users WHERE username = 'ada'")

    assert {who["id"] for _, who in answers} == {str(first[0]["id"])}
    assert len(first) == 1
    assert later[0]["last_login_at"] > first[0]["last_login_at"]
    assert later[0]["email"] == "ada@example.com"


async def test_nobody_else_may_name_a_user(api: Api, database: StatementPool) -> None:
    with capture_logs() as logs:
        spoofed = await me(api, {"X-Forwarded-User": "root"})
        wrong = await me(api, {**named("root"), "X-Headrace-Proxy-Secret": "a guess"})
    users = await database.fetch("SELECT username FROM users WHERE username = 'root'")

    assert [status for status, _ in (spoofed, wrong)] == [401, 401]
    assert spoofed[1]["code"] == "token_invalid"
    assert [line["peer"] for line in logs if line["event"] == "spoofed_identity"] == ["127.0.0.1"] * 2
    assert users == []


async def test_without_any_header_the_caller_is_told_to_sign_in(api: Api) -> None:
    answer = await api.http.get("/api/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


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
async def test_headers_that_name_nobody_or_two_are_refused(api: Api, sent: list[tuple[str, Any]]) -> None:
    secret = ("X-Headrace-Proxy-Secret", PROXY_SECRET)

    answer = await api.http.get("/api/v1/me", headers=[secret, *sent])

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_admins_are_named_by_username_or_email(api: Api) -> None:
    who = [
        await me(api, named("root")),
        await me(api, named("x", "boss@example.com")),
        await me(api, named("y")),
        await me(api, named("boss@example.com", "z@example.com")),
    ]

    assert [one["is_admin"] for _, one in who] == [True, True, False, False]


async def test_a_trusted_network_needs_no_secret(settings: Settings) -> None:
    trusting = msgspec.structs.replace(settings, trusted_proxies=("127.0.0.0/8",))
    distrusting = msgspec.structs.replace(settings, trusted_proxies=("10.0.0.0/8",))

    async with open_proxied(trusting) as api:
        trusted = await me(api, {"X-Forwarded-User": "ada"})
    async with open_proxied(distrusting) as api:
        distrusted = await me(api, {"X-Forwarded-User": "ada", "X-Forwarded-For": "10.0.0.1"})

    assert (trusted[0], trusted[1]["username"]) == (200, "ada")
    assert distrusted[0] == 401


async def test_an_authorization_that_the_proxy_adds_does_not_matter(api: Api) -> None:
    added = [
        await me(api, {**named("ada"), "Authorization": credentials})
        for credentials in ("Basic YTpi", "Bearer a.b.c")
    ]

    assert [(status, who["username"]) for status, who in added] == [(200, "ada")] * 2


async def test_many_requests_at_once_ask_postgresql_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = api.app.state.services.authenticator._repository
    usernames = []
    upsert = repository.upsert_proxy_user

    async def counting(username: str, email: str | None) -> Any:
        usernames.append(username)
        return await upsert(username, email)

    monkeypatch.setattr(repository, "upsert_proxy_user", counting)
    answers = await asyncio.gather(*(me(api, named("ada")) for _ in range(50)))

    assert {status for status, _ in answers} == {200}
    assert len(usernames) <= 2


async def test_the_service_under_its_public_address_is_no_stranger(settings: Settings) -> None:
    async with open_proxied(settings, public_url="https://jobs.example.com") as api:
        answer = await Person(api, "ada").ask(
            "POST", "/jobs", json={"pipeline": "noop"}, headers={"Origin": "https://jobs.example.com"}
        )

    assert answer.status_code == 202


async def test_with_the_sample_secret_nobody_can_make_job_tokens(settings: Settings) -> None:
    async with open_proxied(settings, secret_key=SAMPLE_SECRET, job_token_key=None) as api:
        ada = Person(api, "ada")
        job_id = await ada.submit()
        now = datetime.now(UTC)
        forged = Tokens(SAMPLE_SECRET, None).issue_job(
            UUID(job_id), "cancel", now=now, until=now + timedelta(hours=1)
        )

        created = await ada.ask("POST", f"/jobs/{job_id}/tokens", json={})
        answers = [
            await api.http.get(f"/api/v1/jobs/{job_id}", headers=bearer(token))
            for token in (forged, created.json()["token"])
        ]

    assert [answer.status_code for answer in answers] == [401, 200]


async def test_a_page_of_a_stranger_cannot_use_the_proxys_cookie(api: Api) -> None:
    ada = Person(api, "ada")
    job_id = await ada.submit()

    foreign = await ada.ask("POST", f"/jobs/{job_id}/cancel", headers={"Origin": "https://evil.example"})
    own = await ada.ask("POST", f"/jobs/{job_id}/cancel", headers={"Origin": str(api.http.base_url)})

    assert (foreign.status_code, foreign.json()["code"]) == (403, "origin_refused")
    assert own.status_code == 202
