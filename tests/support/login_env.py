"""A service with its login provider, shared by all tests of a module."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace.adapters.database import StatementPool
from headrace.settings import ProviderSettings, Settings
from support.browser import Browser
from support.fake_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider, providing
from support.harness import Api, new_database, serving

ADMIN = "admin@example.com"


class LoginEnv(Struct):
    """A service with token login; its providers `corp`, `github` and `tone3000` are all *provider*."""

    settings: Settings
    api: Api
    provider: FakeProvider
    database: StatementPool

    async def clear(self) -> None:
        """Delete all users and pending logins, and reset the provider."""
        await self.database.fetch("DELETE FROM users")
        await self.database.fetch("DELETE FROM login_attempts")
        self.provider.reset()
        self.api.http.cookies.clear()

    def browser(self) -> Browser:
        """Return a browser that has not signed in yet."""
        return Browser(self.api)

    async def users(self) -> list[dict[str, Any]]:
        """Return the rows of all users, oldest first."""
        rows = await self.database.fetch("SELECT * FROM users ORDER BY created_at, id")
        return [dict(row) for row in rows]  # type: ignore[call-overload]


@asynccontextmanager
async def open_login_env(server_url: str, template: str, folder: Path) -> AsyncIterator[LoginEnv]:
    """Open the environment on its own database."""
    async with new_database(server_url, template) as url, providing() as provider:
        settings = login_settings(url, folder, provider.url)
        database = await StatementPool.open(url, size=1)
        async with serving(settings) as api:
            yield LoginEnv(settings, api, provider, database)
        await database.close()


def login_settings(database_url: str, folder: Path, provider_url: str) -> Settings:
    """Return the settings of a service with token login and three providers."""
    names = ("corp", "github", "tone3000")
    configured = tuple(
        ProviderSettings(
            name=name,
            issuer=provider_url,
            client_id=CLIENT_ID,
            client_secret=None if name == "tone3000" else CLIENT_SECRET,
        )
        for name in names
    )
    return Settings(
        database_url=database_url,
        data_dir=folder,
        auth="token",
        secret_key="a secret of tests that is long enough",
        providers=names,
        provider_settings=configured,
        admins=(ADMIN,),
    )
