"""Sign-in at a provider: the users who may sign in, and the accounts they get."""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from headrace.domain.accounts.identity_repository import IdentityRepository, NoNameLeftError
from headrace.domain.accounts.identity_service import IdentityService, SignedIn
from headrace.domain.accounts.models import User
from headrace.domain.accounts.profile import Profile
from support.browser import Browser
from support.fake_provider import KEY, ProviderUser
from support.harness import serving
from support.login_env import ADMIN, LoginEnv
from support.patience import PATIENCE_SECONDS

JOBS = "/api/v1/jobs"
_IN_LINE = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


@pytest.mark.parametrize("name", ["corp", "github", "tone3000"])
async def test_sign_in_creates_a_user_and_a_session(name: str, login_env: LoginEnv, browser: Browser) -> None:
    before = await browser.get(JOBS)

    response = await browser.sign_in(name, return_to="/docs?from=x#y")

    assert (before.status_code, before.json()["code"]) == (401, "token_missing")
    assert (response.status_code, response.headers["location"]) == (302, "/docs?from=x#y")
    assert response.headers["cache-control"] == "no-store"
    assert (await browser.get(JOBS)).status_code == 200
    [user] = await login_env.users()
    assert (user["username"], user["is_admin"]) == ("ada", False)
    assert user["email"] == (None if name == "tone3000" else "ada@example.com")
    assert user["last_login_at"] is not None
    [identity] = await login_env.database.fetch("SELECT provider, subject, tokens FROM identities")
    assert (identity["provider"], identity["subject"]) == (name, "42" if name == "github" else "0042")
    assert (identity["tokens"] is None) == (name != "tone3000")


async def test_sign_in_requests_a_code_with_pkce(login_env: LoginEnv, browser: Browser) -> None:
    response = await browser.get("/auth/login/corp", params={"prompt": "select_account"})

    query = {
        name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()
    }
    assert query.pop("redirect_uri") == f"{login_env.api.http.base_url}/auth/callback/corp"
    assert (query.pop("response_type"), query.pop("code_challenge_method")) == ("code", "S256")
    assert (query.pop("scope"), query.pop("prompt")) == ("openid profile email", "select_account")
    assert {name: len(value) for name, value in query.items()} == {
        "client_id": 8,
        "state": 43,
        "nonce": 43,
        "code_challenge": 43,
    }


async def test_session_cookies_have_secure_attributes(login_env: LoginEnv, browser: Browser) -> None:
    response = await browser.sign_in("corp")

    flags = {
        header.partition("=")[0]: {part.strip().lower() for part in header.split(";")[1:]}
        for header in response.headers.get_list("set-cookie")
    }
    for kept in flags.values():
        kept -= {
            attribute for attribute in kept if attribute.startswith("max-age=25919")
        }  # 30 days, less a moment
    assert flags == {
        "headrace_access": {"path=/", "secure", "httponly", "samesite=lax"},
        "headrace_refresh": {"path=/auth", "secure", "httponly", "samesite=strict"},
        "headrace_csrf": {"path=/", "secure", "samesite=strict"},
    }


async def test_a_client_without_cookies_gets_its_tokens_as_json(
    login_env: LoginEnv, browser: Browser
) -> None:
    response = await browser.sign_in("corp", mode="token")

    session = response.json()
    assert (response.status_code, sorted(session)) == (
        200,
        ["access_token", "expires_in", "refresh_token", "token_type"],
    )
    assert (session["expires_in"], session["token_type"]) == (600, "bearer")
    assert sorted(browser.cookies) == ["headrace_login"]
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    assert (await login_env.api.http.get(JOBS, headers=bearer)).status_code == 200
    refresh = {"Authorization": f"Bearer {session['refresh_token']}"}
    assert (await login_env.api.http.get(JOBS, headers=refresh)).status_code == 401


async def test_a_returning_subject_is_the_same_user_under_a_new_name(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    [before] = await login_env.users()
    login_env.provider.person = ProviderUser(name="lovelace", email="countess@example.com", is_verified=False)

    await login_env.browser().sign_in("corp")

    [after] = await login_env.users()
    assert (after["id"], after["username"], after["email"]) == (before["id"], "lovelace", None)
    assert after["last_login_at"] > before["last_login_at"]


async def test_a_taken_username_gets_a_suffix_and_a_separate_account(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0043")
    await login_env.browser().sign_in("corp")
    await login_env.browser().sign_in("github")
    login_env.provider.person = ProviderUser(sub="0044", name="bob")
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0044", name="ada")

    await login_env.browser().sign_in("corp")

    assert [user["username"] for user in await login_env.users()] == ["ada", "ada-2", "ada-3", "ada-4"]


async def test_a_username_keeps_its_suffix_when_the_plain_name_becomes_free(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0043")
    await login_env.browser().sign_in("corp")
    await login_env.database.fetch("DELETE FROM users WHERE username = 'ada'")

    await login_env.browser().sign_in("corp")

    assert [user["username"] for user in await login_env.users()] == ["ada-2"]


async def test_a_verified_email_makes_a_user_an_admin_and_a_username_does_not(login_env: LoginEnv) -> None:
    login_env.provider.person = ProviderUser(sub="1", name=ADMIN, email=ADMIN, is_verified=False)
    named = await login_env.browser().sign_in("corp", mode="token")
    login_env.provider.person = ProviderUser(sub="2", name="x", email=ADMIN)
    proven = await login_env.browser().sign_in("corp", mode="token")
    authenticator = login_env.api.app.state.services.authenticator

    are_admins = [
        (await authenticator._bearer_user(response.json()["access_token"])).is_admin
        for response in (named, proven)
    ]

    assert are_admins == [False, True]


async def test_concurrent_sign_ins_create_one_user(login_env: LoginEnv) -> None:
    browsers = [login_env.browser() for _ in range(6)]
    callback_urls = [await browser.authorize("corp") for browser in browsers]

    responses = await asyncio.gather(
        *(browser.get(callback_url) for browser, callback_url in zip(browsers, callback_urls, strict=True))
    )

    assert [response.status_code for response in responses] == [302] * 6
    assert [user["username"] for user in await login_env.users()] == ["ada"]
    assert len({browser.cookies["headrace_access"] for browser in browsers}) == 6


async def test_a_second_sign_in_waits_for_the_first_and_finds_its_user(engine: AsyncEngine) -> None:
    transactions = async_sessionmaker(engine, expire_on_commit=False)
    ada = Profile("0042", "ada")

    async def sign_in() -> SignedIn:
        async with transactions.begin() as session:
            return await IdentityService(session=session).sign_in("corp", ada, None)

    async with transactions.begin() as session:
        first = await IdentityService(session=session).sign_in("corp", ada, None)
        waiting = asyncio.create_task(sign_in())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await session.execute(_IN_LINE)).scalar_one():
                await asyncio.sleep(0.01)
    second = await asyncio.wait_for(waiting, PATIENCE_SECONDS)

    assert first.user_id == second.user_id
    assert first.session_id != second.session_id


async def test_no_user_is_created_or_renamed_when_every_username_is_taken(engine: AsyncEngine) -> None:
    async with async_sessionmaker(engine).begin() as session:
        repository = IdentityRepository(session)
        eve, bob = await repository.insert_user(["eve"]), await repository.insert_user(["bob"])

        with pytest.raises(NoNameLeftError) as refused:
            await repository.insert_user(["eve", "bob"])
        await repository.rename_user(eve, ["bob"])

        usernames = await session.execute(select(User.username).where(User.id.in_([eve.id, bob.id])))
        assert str(refused.value) == "no name like 'bob' is left"
        assert sorted(usernames.scalars()) == ["bob", "eve"]


async def test_two_sign_ins_of_one_browser_can_overlap(login_env: LoginEnv, browser: Browser) -> None:
    first, second = await browser.authorize("corp"), await browser.authorize("corp")

    responses = [await browser.get(second), await browser.get(first)]

    assert [response.status_code for response in responses] == [302, 302]


async def test_a_new_signing_key_of_the_provider_is_fetched_at_once(
    login_env: LoginEnv, browser: Browser
) -> None:
    await browser.sign_in("corp")
    login_env.provider.keys = [RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})]
    login_env.provider.requested_paths.clear()

    responses = [await browser.sign_in("corp") for _ in range(2)]

    assert [response.status_code for response in responses] == [302, 302]
    assert login_env.provider.requested_paths == ["/authorize", "/token", "/jwks", "/authorize", "/token"]


async def test_an_email_missing_from_the_id_token_is_fetched(login_env: LoginEnv, browser: Browser) -> None:
    def without_email(claims: dict[str, Any]) -> str:
        kept = {name: value for name, value in claims.items() if not name.startswith("email")}
        return jwt.encode({"alg": "RS256", "kid": "first"}, kept, KEY)

    login_env.provider.sign = without_email

    await browser.sign_in("corp")

    assert [user["email"] for user in await login_env.users()] == ["ada@example.com"]


async def test_the_redirect_uri_follows_the_host_header(login_env: LoginEnv) -> None:
    redirect_uris = []
    for host in ("jobs.lan:8443", "[::1]:8000", "bad host", "a@b"):
        response = await login_env.api.http.get("/auth/login/github", headers={"Host": host})
        query = parse_qs(urlsplit(response.headers.get("location", "")).query)
        redirect_uris.append(query.get("redirect_uri", [response.status_code])[0])

    assert redirect_uris == [
        "https://jobs.lan:8443/auth/callback/github",
        "http://[::1]:8000/auth/callback/github",
        400,
        400,
    ]


async def test_the_redirect_uri_uses_the_public_url_if_it_is_set(login_env: LoginEnv) -> None:
    public = msgspec.structs.replace(login_env.settings, public_url="https://jobs.example.com")

    async with serving(public) as api:
        response = await api.http.get("/auth/login/github", headers={"Host": "10.0.0.7:8000"})

    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert query["redirect_uri"] == ["https://jobs.example.com/auth/callback/github"]


async def test_the_secrets_of_a_sign_in_are_not_stored_in_plain_text(
    login_env: LoginEnv, browser: Browser
) -> None:
    response = await browser.get("/auth/login/corp")
    query = parse_qs(urlsplit(response.headers["location"]).query)

    [row] = await login_env.database.fetch("SELECT state, secrets FROM login_attempts")

    stored = bytes(row["state"]) + bytes(row["secrets"])
    for secret in (query["state"][0], query["nonce"][0], browser.cookies["headrace_login"]):
        assert secret.encode() not in stored
