"""A database with an owner and a pipeline, and people who use it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import StatementPool
from adapters.engine import build_engine
from adapters.servers import Servers
from browser import Browser
from lease_stand import found
from login_stand import LoginStand, login_stand


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
