"""Finds the database of the service for commands of its operator, or starts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.servers import find_database_url, has_database, run_servers
from headrace.cli.data_dir_lock import DataDirLock
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings


class NoDatabaseError(HeadraceError):
    """No setting names a database, and the data folder holds none."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            f"HEADRACE_DATABASE_URL is not set, and there is no database in {data_dir}: set it, or name the"
            " folder of `headrace up` with --data-dir"
        )


@contextmanager
def operated_database(settings: Settings, data_dir: Path, *, is_new: bool) -> Iterator[PostgresAddress]:
    """Yield the address of the database. A PostgreSQL of `headrace up` that does not run is started.

    *is_new*: the database may be absent, and no `headrace up` may run on the folder.

    Raises:
        NoDatabaseError: there is none.
        AnotherUpError: a `headrace up` runs on the folder.
        HeadraceError: PostgreSQL does not start.
    """
    if settings.database_url:
        yield settings.database
        return
    if not is_new:
        if (url := find_database_url(data_dir)) is not None:
            yield parse_postgres_url(url, schema=settings.database_schema)
            return
        if not has_database(data_dir):
            raise NoDatabaseError(data_dir)
    with DataDirLock(data_dir), run_servers(data_dir, redis=False) as servers:
        yield parse_postgres_url(str(servers.database_url), schema=settings.database_schema)
