"""Creates an API key directly in the database of the service."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import async_sessionmaker

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.private_files import open_private
from headrace.adapters.schema import require_schema
from headrace.adapters.servers import find_database_url
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.accounts.console import ConsoleService
from headrace.domain.accounts.scopes import Scope
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings, SettingsError


class KeyNotWrittenError(HeadraceError):
    """The file of the first key cannot be written."""


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


def write_first_key(settings: Settings, file: Path, scope: Scope, *, mode: int = 0o600) -> bool:
    """Create a key of an admin with *scope* in *file*, which has *mode*; return whether it did.

    A file that is not empty is kept. The name of the user has a random part, so that nobody whom a proxy
    names can be taken for this admin.

    Raises:
        KeyNotWrittenError: the file cannot be written.
        HeadraceError: the database cannot be used.
    """
    # Process ids repeat in containers, and a migration that was killed has left its draft.
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with _refusals_of(file):
        if file.exists() and file.stat().st_size > 0:
            return False
        # A folder that cannot be written must not leave a key in the database at each start.
        opened = open_private(draft, "xb")
    try:
        with opened:
            key = _make_first_key(settings, scope)
            with _refusals_of(file):
                opened.write(f"{key}\n".encode())
                opened.flush()
                os.fchmod(opened.fileno(), mode)
                os.fsync(opened.fileno())
                draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _make_first_key(settings: Settings, scope: Scope) -> str:
    user = f"{scope.partition(':')[0]}-{secrets.token_hex(8)}"
    with translate_refusals():
        return asyncio.run(_make_key(settings.database, user, "first", [scope], None, makes_admin=True))


@contextlib.contextmanager
def _refusals_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise KeyNotWrittenError(f"cannot write the first key to {file}: {reason}") from error


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
    address: PostgresAddress,
    user: str,
    name: str,
    scopes: Sequence[str],
    lifetime: timedelta | None,
    *,
    makes_admin: bool = False,
) -> str:
    pool = await StatementPool.open(address, size=1)
    try:
        await require_schema(pool)
    finally:
        await pool.close()
    engine = build_engine(address, size=1)
    try:
        async with async_sessionmaker(engine).begin() as session:
            _, text = await ConsoleService(session).create_key(
                user, name, scopes, lifetime, makes_admin=makes_admin
            )
            return text
    finally:
        await engine.dispose()
