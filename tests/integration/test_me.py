"""GraphQL and REST say the same of a caller, for every kind of credential."""

import asyncio
from typing import Any

import pytest

from headrace.settings import Settings
from support.browser import Browser
from support.harness import Api, serving
from support.login_env import LoginEnv
from support.users import Person, bearer, behind_proxy

QUERY = {"query": "{ me { id username email isAdmin scopes } }"}
GRANTED = ("jobs:read", "jobs:write", "files:read", "files:write")
OWN = sorted([*GRANTED, "account"])


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(module_settings)


async def scopes_of(api: Api, headers: dict[str, str]) -> list[str]:
    """Return the scopes of a caller, once both answers agree on everything."""
    rest = (await api.http.get("/api/v1/me", headers=headers)).json()
    graph = (await api.http.post("/graphql", json=QUERY, headers=headers)).json()["data"]["me"]
    shown: dict[str, Any] = {**graph, "is_admin": graph["isAdmin"]}
    del shown["isAdmin"]
    assert shown == {name: rest[name] for name in shown}
    scopes: list[str] = rest["scopes"]
    return scopes


async def test_without_quotas_there_is_no_usage(api: Api) -> None:
    assert (await Person(api, "ada").ask("GET", "/me")).json()["quotas"] == {}


async def test_users_and_admins_of_a_proxy(api: Api) -> None:
    assert await scopes_of(api, Person(api, "ada").headers) == OWN
    assert await scopes_of(api, Person(api, "root").headers) == sorted([*OWN, "admin", "metrics:read"])


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        (["jobs:read"], ["jobs:read"]),
        (["jobs:read", "jobs:write"], ["jobs:read", "jobs:write"]),
        (["jobs:read", "files:*"], ["files:read", "files:write", "jobs:read"]),
    ],
)
@pytest.mark.parametrize("name", ["ada", "root"])
async def test_api_keys(api: Api, name: str, scopes: list[str], shown: list[str]) -> None:
    key = await Person(api, name).key(*scopes)

    assert await scopes_of(api, bearer(key["key"])) == shown


async def test_the_key_of_an_admin_while_and_after_its_owner_is_one(api: Api) -> None:
    root, bob = Person(api, "root"), Person(api, "bob")
    bob_id = (await bob.ask("GET", "/me")).json()["id"]
    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": True})
    await asyncio.sleep(1)
    key = bearer((await bob.key("admin", "jobs:read"))["key"])

    during = await scopes_of(api, key)
    await root.ask("PATCH", f"/users/{bob_id}", json={"is_admin": False})
    await asyncio.sleep(1)

    assert during == sorted([*GRANTED, "admin", "metrics:read"])
    assert await scopes_of(api, key) == ["jobs:read"]


async def test_the_local_user(settings: Settings) -> None:
    async with serving(settings) as api:
        assert await scopes_of(api, {}) == OWN


async def test_a_session(login_env: LoginEnv, browser: Browser) -> None:
    tokens = (await browser.sign_in("corp", mode="token")).json()

    assert await scopes_of(login_env.api, bearer(tokens["access_token"])) == OWN
