"""Creates an API key directly in the database of the service."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.schema import require_schema
from headrace.adapters.servers import find_database_url
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.accounts.console import ConsoleService
from headrace.settings import Settings, SettingsError


def make_key(
    settings: Settings,
    data_dir: Path | None,
    *,
    user: str,
    name: str,
    scopes: Sequence[str],
    lifetime: timedelta | None,
) -> str:
    """Create a key and return its text.

    Raises:
        SettingsError: no database is known.
        HeadraceError: the database cannot be used, or the user has too many keys.
    """
    address = find_database(settings, data_dir)
    with translate_refusals():
        return asyncio.run(_make_key(address, user, name, scopes, lifetime))


def find_database(settings: Settings, data_dir: Path | None) -> PostgresAddress:
    """Return the address of the settings, or of the `headrace up` over that data folder.

    Raises:
        SettingsError: no database is known.
    """
    folder = (data_dir or settings.data_dir).expanduser().absolute()
    if settings.database_url:
        return settings.database
    if (url := find_database_url(folder)) is None:
        raise SettingsError(
            f"HEADRACE_DATABASE_URL is not set, and no `headrace up` runs over {folder}: start it first"
        )
    return parse_postgres_url(url, schema=settings.database_schema)


async def _make_key(
    address: PostgresAddress, user: str, name: str, scopes: Sequence[str], lifetime: timedelta | None
) -> str:
    async with open_console(address) as console:
        _, text = await console.create_key(user, name, scopes, lifetime)
        return text


@asynccontextmanager
async def open_console(address: PostgresAddress) -> AsyncIterator[ConsoleService]:
    """Yield the service in a transaction on the database, whose schema must be up to date."""
    pool = await StatementPool.open(address, size=1)
    try:
        await require_schema(pool)
    finally:
        await pool.close()
    engine = build_engine(address, size=1)
    try:
        async with async_sessionmaker(engine).begin() as session:
            yield ConsoleService(session)
    finally:
        await engine.dispose()
