"""`headrace admin create-key` makes a key before anybody can sign in, and a start says that nobody can."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.cli.start_checks import check_start
from headrace.domain.accounts.console import ConsoleService
from headrace.domain.accounts.models import ApiKey
from headrace.settings import Settings
from support.harness import Api
from support.patience import PATIENCE_SECONDS
from support.users import bearer

COMMAND = str(Path(sys.executable).with_name("headrace"))


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, auth="token", secret_key="a-secret-of-this-run")


async def create_key(
    api: Api, username: str, scopes: list[str], lifetime: timedelta | None = None
) -> tuple[ApiKey, str]:
    async with api.app.state.services.sessions.begin() as session:
        return await ConsoleService(session).create_key(username, "a key", scopes, lifetime)


def start_lines(settings: Settings) -> list[str]:
    with capture_logs() as lines:
        check_start(settings, "127.0.0.1")
    return [line["event"] for line in lines]


async def test_a_key_of_the_command_lets_an_admin_in(api: Api, settings: Settings) -> None:
    command = [COMMAND, "admin", "create-key", "first", "--scope", "admin"]

    made = await asyncio.to_thread(
        subprocess.run,
        command,
        env=settings.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    key = made.stdout.strip()
    me = (await api.http.get("/api/v1/me", headers=bearer(key))).json()
    entries = (await api.http.get("/api/v1/audit-log", headers=bearer(key))).json()["items"]
    assert (me["username"], me["is_admin"]) == ("admin", True)
    assert key not in made.stderr
    assert [(entry["actor"], entry["action"], entry["detail"]["user"]) for entry in entries] == [
        ("headrace admin", "makeApiKey", "admin")
    ]


async def test_a_key_has_only_its_scopes_and_its_lifetime(api: Api) -> None:
    key, _ = await create_key(api, "ci", ["jobs:read"], timedelta(days=2))
    again, _ = await create_key(api, "ci", ["jobs:write", "jobs:read"])

    assert (key.owner_id, key.scopes) == (again.owner_id, ["jobs:read"])
    assert again.expires_at is None
    assert key.expires_at is not None
    assert timedelta(days=1) < key.expires_at - datetime.now(UTC) < timedelta(days=3)


async def test_only_the_scope_admin_makes_an_admin(api: Api) -> None:
    _, plain = await create_key(api, "bob", ["jobs:read"])
    _, full = await create_key(api, "root", ["admin"])
    _, narrow = await create_key(api, "root", ["jobs:read"])

    seen = [(await api.http.get("/api/v1/me", headers=bearer(key))).json() for key in (plain, full, narrow)]

    assert [me["is_admin"] for me in seen] == [False, True, False]
    assert seen[2]["scopes"] == ["jobs:read"]


async def test_a_start_warns_while_nobody_can_sign_in(api: Api, settings: Settings) -> None:
    before = await asyncio.to_thread(start_lines, settings)
    await create_key(api, "admin", ["admin"])
    after = await asyncio.to_thread(start_lines, settings)

    assert (before, after) == (["nobody_can_sign_in"], [])
