"""Fixtures of the integration tests: a seeded database, a service with logins, one API for a module."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.browser import Browser
from support.harness import Api, new_database, register_pipelines, serving
from support.lease_driver import seed_database
from support.login_env import LoginEnv, open_login_env
from support.shared_api import SharedApi, signed_in


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    """A database with an owner and a pipeline."""
    await seed_database(database)
    return database


@pytest.fixture
async def engine(database: StatementPool, database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database that holds an owner and a pipeline."""
    await seed_database(database)
    built = build_engine(database_url)
    yield built
    await built.dispose()


@pytest.fixture(scope="module")
async def shared_login_env(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LoginEnv]:
    """A service with a login provider, shared by a module's tests because it is slow to start."""
    folder = tmp_path_factory.mktemp("login")
    async with open_login_env(str(servers.database_url), template, folder) as running:
        yield running


@pytest.fixture
async def login_env(shared_login_env: LoginEnv) -> LoginEnv:
    """A service with a login provider, where no user exists yet."""
    await shared_login_env.clear()
    return shared_login_env


@pytest.fixture
def browser(login_env: LoginEnv) -> Browser:
    """A browser that has not signed in yet."""
    return login_env.browser()


@pytest.fixture(scope="module")
async def shared_api(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SharedApi]:
    """One API for all tests of a module, without Redis or workers. Each test creates its own users."""
    async with new_database(str(servers.database_url), template) as url:
        settings = Settings(
            database_url=url,
            data_dir=tmp_path_factory.mktemp("shared-api"),
            auth="proxy",
            trusted_proxies=("127.0.0.1",),
            admins=("root",),
        )
        await register_pipelines(settings)
        database = await StatementPool.open(url, size=2)
        async with serving(settings) as api:
            yield SharedApi(api, database)
        await database.close()


@pytest.fixture
async def ada(shared_api: SharedApi) -> AsyncIterator[Api]:
    """The shared API as a new user sees it."""
    async with signed_in(shared_api.api, f"ada-{uuid4().hex}") as api:
        yield api


@pytest.fixture
async def bob(shared_api: SharedApi) -> AsyncIterator[Api]:
    """The shared API as another new user sees it."""
    async with signed_in(shared_api.api, f"bob-{uuid4().hex}") as api:
        yield api


@pytest.fixture
async def root(shared_api: SharedApi) -> AsyncIterator[Api]:
    """The shared API as an admin sees it."""
    async with signed_in(shared_api.api, "root") as api:
        yield api
