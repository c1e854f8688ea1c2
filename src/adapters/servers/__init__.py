"""A real PostgreSQL and a real Redis without containers, owned by the process that started them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.servers.binaries import (
    Kind,
    PostgresBinaries,
    RedisBinaries,
    Source,
    find_postgres,
    find_redis,
)
from adapters.servers.doctor import Finding, describe
from adapters.servers.errors import ServerError
from adapters.servers.postgres import PostgresServer, start_postgres
from adapters.servers.redis import RedisServer, start_redis

__all__ = [
    "Finding",
    "Kind",
    "PostgresBinaries",
    "PostgresServer",
    "RedisBinaries",
    "RedisServer",
    "ServerError",
    "Servers",
    "Source",
    "describe",
    "find_postgres",
    "find_redis",
    "run_servers",
    "start_postgres",
    "start_redis",
]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the running servers answer; None for one that was not asked for.

    *notes* are sentences that the user should read, such as where a moved data folder is.
    """

    database_url: str | None
    redis_url: str | None
    notes: tuple[str, ...]


@contextmanager
def run_servers(
    data_dir: Path, *, postgres: bool = True, redis: bool = True, source: Source = "any"
) -> Iterator[Servers]:
    """Run the servers over *data_dir* while the block runs, then stop Redis first and PostgreSQL last.

    A launcher killed by SIGKILL leaves them running; the next call takes them over.

    Raises:
        ServerError: no usable binaries, a folder that cannot be used, or another launcher at work there.
    """
    with ExitStack() as stack:
        database: PostgresServer | None = None
        broker: RedisServer | None = None
        if postgres:
            database = start_postgres(data_dir, source)
            stack.callback(database.stop)
        if redis:
            broker = start_redis(data_dir, source)
            stack.callback(broker.stop)
        yield Servers(
            database_url=database.url if database else None,
            redis_url=broker.url if broker else None,
            notes=(database.notes if database else ()) + (broker.notes if broker else ()),
        )
