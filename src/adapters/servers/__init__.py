"""Runs a real PostgreSQL and a real Redis without containers; the process that starts them owns them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.adapters.servers.binaries import (
    Kind,
    PostgresBinaries,
    RedisBinaries,
    Source,
    find_postgres,
    find_redis,
)
from headrace.adapters.servers.doctor import Finding, describe, find_database_url, has_database
from headrace.adapters.servers.errors import ServerError
from headrace.adapters.servers.postgres import start_postgres
from headrace.adapters.servers.redis import start_redis
from headrace.adapters.servers.server import EmbeddedServer

__all__ = [
    "EmbeddedServer",
    "Finding",
    "Kind",
    "PostgresBinaries",
    "RedisBinaries",
    "ServerError",
    "Servers",
    "Source",
    "describe",
    "find_database_url",
    "find_postgres",
    "find_redis",
    "has_database",
    "run_servers",
    "start_postgres",
    "start_redis",
]


@dataclass(frozen=True, slots=True)
class Servers:
    """The running servers; None for one that was not requested."""

    postgres: EmbeddedServer | None
    redis: EmbeddedServer | None

    @property
    def database_url(self) -> str | None:
        return self.postgres.url if self.postgres else None

    @property
    def redis_url(self) -> str | None:
        return self.redis.url if self.redis else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, for example where a moved data folder is."""
        return tuple(note for server in self.all() for note in server.notes)

    def all(self) -> list[EmbeddedServer]:
        return [server for server in (self.postgres, self.redis) if server]


@contextmanager
def run_servers(
    data_dir: Path, *, postgres: bool = True, redis: bool = True, source: Source = "any"
) -> Iterator[Servers]:
    """Run the servers on *data_dir* for the block, then stop Redis first and PostgreSQL last.

    A launcher that is killed leaves them running; the next call takes them over.

    Raises:
        ServerError: there are no usable binaries, the folder cannot be used, or another launcher uses it.
    """
    with ExitStack() as stack:
        database = broker = None
        if postgres:
            database = start_postgres(data_dir, source)
            stack.callback(database.stop)
        if redis:
            broker = start_redis(data_dir, source)
            stack.callback(broker.stop)
        yield Servers(database, broker)
