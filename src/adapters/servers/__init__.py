"""A real PostgreSQL and a real Redis without containers, owned by the process that started them."""

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
from headrace.adapters.servers.doctor import Finding, describe
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
    "find_postgres",
    "find_redis",
    "run_servers",
    "start_postgres",
    "start_redis",
]


@dataclass(frozen=True, slots=True)
class Servers:
    """The running servers; None for one that was not asked for."""

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
        """Sentences that the user should read, such as where a moved data folder is."""
        return tuple(note for server in self.all() for note in server.notes)

    def all(self) -> list[EmbeddedServer]:
        return [server for server in (self.postgres, self.redis) if server]


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
        database = broker = None
        if postgres:
            database = start_postgres(data_dir, source)
            stack.callback(database.stop)
        if redis:
            broker = start_redis(data_dir, source)
            stack.callback(broker.stop)
        yield Servers(database, broker)
