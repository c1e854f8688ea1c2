"""A database with an owner and a pipeline, and people who use it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import StatementPool
from adapters.engine import build_engine
from lease_stand import found


@pytest.fixture
async def people(database: StatementPool, database_url: str) -> AsyncIterator[AsyncEngine]:
    """For the transactions of people; the database has an owner and a pipeline."""
    await found(database)
    engine = build_engine(database_url)
    yield engine
    await engine.dispose()
