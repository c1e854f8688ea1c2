"""Finds the database of the service for commands of its operator, or starts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.servers import find_database_url, run_servers
from headrace.cli.data_dir_lock import DataDirLock
from headrace.settings import Settings


@contextmanager
def operated_database(settings: Settings, data_dir: Path, *, alone: bool) -> Iterator[PostgresAddress]:
    """Yield the address of the database. A PostgreSQL of `headrace up` that does not run is started.

    *alone*: no `headrace up` may run on the folder.

    Raises:
        AnotherUpError: one runs.
        HeadraceError: PostgreSQL does not start.
    """
    if settings.database_url:
        yield settings.database
        return
    if not alone and (url := find_database_url(data_dir)) is not None:
        yield parse_postgres_url(url, schema=settings.database_schema)
        return
    with DataDirLock(data_dir), run_servers(data_dir, redis=False) as servers:
        yield parse_postgres_url(str(servers.database_url), schema=settings.database_schema)
