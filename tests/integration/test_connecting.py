"""Special characters in the URLs of PostgreSQL and Redis."""

import asyncio
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import text

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.migrations import AlembicCommands
from headrace.domain.base import METADATA
from headrace.settings import read_settings

PASSWORD = "p@ss:w/o?rd#50% +&=[x]"


@pytest.fixture
async def url(database_url: str) -> str:
    """Return a URL whose password contains every character with a meaning in URLs."""
    admin = await asyncpg.connect(database_url)
    await admin.execute("DROP ROLE IF EXISTS odd")
    await admin.execute(f"CREATE ROLE odd LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    await admin.close()
    _, _, place = database_url.rpartition("@")
    return f"postgresql://odd:{quote(PASSWORD, safe='')}@{place}"


async def test_a_password_with_special_characters_works_for_every_connection(url: str) -> None:
    settings = read_settings({"HEADRACE_DATABASE_URL": url})
    pool = await StatementPool.open(str(settings.database_url), size=1)
    engine = build_engine(str(settings.database_url))

    async with engine.connect() as connection:
        by_engine = (await connection.execute(text("SELECT current_user"))).scalar_one()
    by_pool = await pool.fetch("SELECT current_user AS name")
    await asyncio.to_thread(AlembicCommands(str(settings.database_url)).check, METADATA)
    await engine.dispose()
    await pool.close()

    assert (by_engine, by_pool[0]["name"]) == ("odd", "odd")
    assert PASSWORD in settings.secrets or quote(PASSWORD, safe="") in settings.secrets
