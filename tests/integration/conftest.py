"""A database with an owner and a pipeline, and people who use it."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from headrace.workers.main import open_worker
from support.browser import Browser
from support.harness import Api, new_database, serving
from support.lease_driver import found
from support.login_env import LoginStand, login_stand
from support.shared_api import Town, signed_in


@pytest.fixture
async def people(database: StatementPool, database_url: str) -> AsyncIterator[AsyncEngine]:
    """For the transactions of people; the database has an owner and a pipeline."""
    await found(database)
    engine = build_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
async def shared_login_stand(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LoginStand]:
    """Where people sign in; one for all tests of a module, since it takes long to start."""
    folder = tmp_path_factory.mktemp("login")
    async with login_stand(str(servers.database_url), template, folder) as running:
        yield running


@pytest.fixture
async def stand(shared_login_stand: LoginStand) -> LoginStand:
    """Where people sign in; nobody has yet."""
    await shared_login_stand.clear()
    return shared_login_stand


@pytest.fixture
def browser(stand: LoginStand) -> Browser:
    """Somebody's browser, before any sign-in."""
    return stand.browser()


@pytest.fixture(scope="module")
async def town(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """One API for all tests of a module, without Redis or workers: each test brings people of its own."""
    async with new_database(str(servers.database_url), template) as url:
        settings = Settings(
            database_url=url,
            data_dir=tmp_path_factory.mktemp("town"),
            auth="proxy",
            trusted_proxies=("127.0.0.1",),
            admins=("root",),
        )
        async with open_worker(settings, ("nobody",), 1):
            pass
        database = await StatementPool.open(url, size=2)
        async with serving(settings) as api:
            yield Town(api, database)
        await database.close()


@pytest.fixture
async def ada(town: Town) -> AsyncIterator[Api]:
    """Somebody whom nobody has seen before."""
    async with signed_in(town.api, f"ada-{uuid4().hex}") as api:
        yield api


@pytest.fixture
async def bob(town: Town) -> AsyncIterator[Api]:
    """Somebody else."""
    async with signed_in(town.api, f"bob-{uuid4().hex}") as api:
        yield api


@pytest.fixture
async def root(town: Town) -> AsyncIterator[Api]:
    """An admin."""
    async with signed_in(town.api, "root") as api:
        yield api
