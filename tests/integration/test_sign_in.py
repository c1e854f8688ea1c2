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

JOBS = "/api/v1/jobs"
_IN_LINE = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


@pytest.mark.parametrize("name", ["corp", "github", "tone3000"])
async def test_whoever_signs_in_is_let_in(name: str, login_env: LoginEnv, browser: Browser) -> None:
    before = await browser.get(JOBS)

    answer = await browser.sign_in(name, return_to="/docs?from=x#y")

    assert (before.status_code, before.json()["code"]) == (401, "token_missing")
    assert (answer.status_code, answer.headers["location"]) == (302, "/docs?from=x#y")
    assert answer.headers["cache-control"] == "no-store"
    assert (await browser.get(JOBS)).status_code == 200
    [user] = await login_env.users()
    assert (user["username"], user["is_admin"]) == ("ada", False)
    assert user["email"] == (None if name == "tone3000" else "ada@example.com")
    assert user["last_login_at"] is not None
    [identity] = await login_env.database.fetch("SELECT provider, subject, tokens FROM identities")
    assert (identity["provider"], identity["subject"]) == (name, "42" if name == "github" else "0042")
    assert (identity["tokens"] is None) == (name != "tone3000")


async def test_a_sign_in_asks_for_a_code_with_pkce(login_env: LoginEnv, browser: Browser) -> None:
    answer = await browser.get("/auth/login/corp", params={"prompt": "select_account"})

    query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert query.pop("redirect_uri") == f"{login_env.api.http.base_url}/auth/callback/corp"
    assert (query.pop("response_type"), query.pop("code_challenge_method")) == ("code", "S256")
    assert (query.pop("scope"), query.pop("prompt")) == ("openid profile email", "select_account")
    assert {name: len(value) for name, value in query.items()} == {
        "client_id": 8,
        "state": 43,
        "nonce": 43,
        "code_challenge": 43,
    }


async def test_the_cookies_of_a_session_are_flagged(login_env: LoginEnv, browser: Browser) -> None:
    answer = await browser.sign_in("corp")

    flags = {
        header.partition("=")[0]: {part.strip().lower() for part in header.split(";")[1:]}
        for header in answer.headers.get_list("set-cookie")
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
    answer = await browser.sign_in("corp", mode="token")

    session = answer.json()
    assert (answer.status_code, sorted(session)) == (
        200,
        ["access_token", "expires_in", "refresh_token", "token_type"],
    )
    assert (session["expires_in"], session["token_type"]) == (600, "bearer")
    assert sorted(browser.cookies) == ["headrace_login"]
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    assert (await login_env.api.http.get(JOBS, headers=bearer)).status_code == 200
    refresh = {"Authorization": f"Bearer {session['refresh_token']}"}
    assert (await login_env.api.http.get(JOBS, headers=refresh)).status_code == 401


async def test_whoever_comes_back_is_the_same_user_whatever_they_are_called(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    [before] = await login_env.users()
    login_env.provider.person = ProviderUser(name="lovelace", email="countess@example.com", is_verified=False)

    await login_env.browser().sign_in("corp")

    [after] = await login_env.users()
    assert (after["id"], after["username"], after["email"]) == (before["id"], "lovelace", None)
    assert after["last_login_at"] > before["last_login_at"]


async def test_a_name_that_is_taken_gets_an_end_and_nobody_elses_account(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0043")
    await login_env.browser().sign_in("corp")
    await login_env.browser().sign_in("github")
    login_env.provider.person = ProviderUser(sub="0044", name="bob")
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0044", name="ada")

    await login_env.browser().sign_in("corp")

    assert [user["username"] for user in await login_env.users()] == ["ada", "ada-2", "ada-3", "ada-4"]


async def test_a_name_with_an_end_stays_when_the_one_without_is_free_again(login_env: LoginEnv) -> None:
    await login_env.browser().sign_in("corp")
    login_env.provider.person = ProviderUser(sub="0043")
    await login_env.browser().sign_in("corp")
    await login_env.database.fetch("DELETE FROM users WHERE username = 'ada'")

    await login_env.browser().sign_in("corp")

    assert [user["username"] for user in await login_env.users()] == ["ada-2"]


async def test_a_name_makes_nobody_an_admin_and_a_verified_email_does(login_env: LoginEnv) -> None:
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


async def test_two_sign_ins_at_once_make_one_user(login_env: LoginEnv) -> None:
    browsers = [login_env.browser() for _ in range(6)]
    backs = [await browser.authorize("corp") for browser in browsers]

    answers = await asyncio.gather(
        *(browser.get(back) for browser, back in zip(browsers, backs, strict=True))
    )

    assert [answer.status_code for answer in answers] == [302] * 6
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
        async with asyncio.timeout(10):
            while not (await session.execute(_IN_LINE)).scalar_one():
                await asyncio.sleep(0.01)
    second = await asyncio.wait_for(waiting, 10)

    assert first.user_id == second.user_id
    assert first.session_id != second.session_id


async def test_where_every_name_is_taken_nobody_is_made_or_renamed(engine: AsyncEngine) -> None:
    async with async_sessionmaker(engine).begin() as session:
        repository = IdentityRepository(session)
        eve, bob = await repository.insert_user(["eve"]), await repository.insert_user(["bob"])

        with pytest.raises(NoNameLeftError) as refused:
            await repository.insert_user(["eve", "bob"])
        await repository.rename_user(eve, ["bob"])

        usernames = await session.execute(select(User.username).where(User.id.in_([eve.id, bob.id])))
        assert str(refused.value) == "no name like 'bob' is left"
        assert sorted(usernames.scalars()) == ["bob", "eve"]


async def test_two_windows_of_one_browser_may_be_on_the_way_at_once(
    login_env: LoginEnv, browser: Browser
) -> None:
    first, second = await browser.authorize("corp"), await browser.authorize("corp")

    answers = [await browser.get(second), await browser.get(first)]

    assert [answer.status_code for answer in answers] == [302, 302]


async def test_a_new_key_of_the_provider_is_learnt_at_once(login_env: LoginEnv, browser: Browser) -> None:
    await browser.sign_in("corp")
    login_env.provider.keys = [RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})]
    login_env.provider.requested_paths.clear()

    answers = [await browser.sign_in("corp") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 302]
    assert login_env.provider.requested_paths == ["/authorize", "/token", "/jwks", "/authorize", "/token"]


async def test_what_the_id_token_leaves_out_is_asked_for(login_env: LoginEnv, browser: Browser) -> None:
    def without_email(claims: dict[str, Any]) -> str:
        kept = {name: value for name, value in claims.items() if not name.startswith("email")}
        return jwt.encode({"alg": "RS256", "kid": "first"}, kept, KEY)

    login_env.provider.sign = without_email

    await browser.sign_in("corp")

    assert [user["email"] for user in await login_env.users()] == ["ada@example.com"]


async def test_the_way_back_is_where_the_browser_sees_the_service(login_env: LoginEnv) -> None:
    redirect_uris = []
    for host in ("jobs.lan:8443", "[::1]:8000", "bad host", "a@b"):
        answer = await login_env.api.http.get("/auth/login/github", headers={"Host": host})
        query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
        redirect_uris.append(query.get("redirect_uri", [answer.status_code])[0])

    assert redirect_uris == [
        "https://jobs.lan:8443/auth/callback/github",
        "http://[::1]:8000/auth/callback/github",
        400,
        400,
    ]


async def test_the_way_back_is_the_public_address_where_one_is_set(login_env: LoginEnv) -> None:
    public = msgspec.structs.replace(login_env.settings, public_url="https://jobs.example.com")

    async with serving(public) as api:
        answer = await api.http.get("/auth/login/github", headers={"Host": "10.0.0.7:8000"})

    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["redirect_uri"] == ["https://jobs.example.com/auth/callback/github"]


async def test_nothing_of_a_sign_in_is_stored_in_the_clear(login_env: LoginEnv, browser: Browser) -> None:
    there = await browser.get("/auth/login/corp")
    query = parse_qs(urlsplit(there.headers["location"]).query)

    [row] = await login_env.database.fetch("SELECT state, secrets FROM login_attempts")

    stored = bytes(row["state"]) + bytes(row["secrets"])
    for secret in (query["state"][0], query["nonce"][0], browser.cookies["headrace_login"]):
        assert secret.encode() not in stored
