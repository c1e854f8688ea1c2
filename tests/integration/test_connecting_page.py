"""Each line of docs/connecting.md leads to a server, under the names of hosts and files that stand there."""

import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import pytest
import redis as sync_redis
from sqlalchemy import text

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.redis_checks import require_usable
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.redis_url import parse_redis_url
from headrace.adapters.servers import Servers
from headrace.settings import read_settings
from support.pgbouncer import PGBOUNCER, pgbouncer
from support.scratch import make_server_folder
from support.tls import Certificates, relayed

PAGE: Final = (Path(__file__).parents[2] / "docs" / "connecting.md").read_text()
POSTGRES: Final = re.findall(r"^\| (.+?) \| `HEADRACE_DATABASE_URL='(.+)'` \|$", PAGE, re.MULTILINE)
REDIS: Final = re.findall(r"^\| (.+?) \| `HEADRACE_REDIS_URL='(.+)'` \|$", PAGE, re.MULTILINE)
SOCKET_FOLDERS: Final = ("/run/postgresql", "/cloudsql/project:region:instance", "/run/redis")
NAMES: Final = ("*.example.com", *set(re.findall(r"[\w.-]+\.example\.com", PAGE)))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # The path of a Unix socket must be short.
    made = make_server_folder("headrace-page-")
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
async def database_url_of_app(servers: Servers) -> AsyncIterator[str]:
    """A database `jobs` for a role `app` without rights beyond it."""
    url = str(servers.database_url)
    admin = await asyncpg.connect(url)
    await admin.execute("CREATE ROLE app LOGIN PASSWORD 'secret'")
    await admin.execute("CREATE DATABASE jobs OWNER app")
    ((host, port),) = parse_postgres_url(url).hosts
    yield f"postgresql://app:secret@{host}:{port}/jobs"
    await admin.execute("DROP DATABASE jobs WITH (FORCE)")
    await admin.execute("DROP ROLE app")
    await admin.close()


@pytest.fixture
def redis_port(servers: Servers) -> Iterator[int]:
    """The port of a Redis with the user `app` as the page creates it, and a password for the default user."""
    (rule,) = re.findall(r"^ACL SETUSER (.+)$", PAGE, re.MULTILINE)
    address = parse_redis_url(str(servers.redis_url))
    with sync_redis.Redis.from_url(str(servers.redis_url)) as client:
        client.execute_command("ACL", "SETUSER", *rule.split())
        client.execute_command("ACL", "SETUSER", "default", ">secret")
        yield address.arguments["port"]
        client.execute_command("ACL", "SETUSER", "default", "<secret")
        client.execute_command("ACL", "DELUSER", "app")


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Certificates:
    return Certificates(folder, *NAMES)


def resolve_to(monkeypatch: pytest.MonkeyPatch, ports: dict[str, int]) -> None:
    """Resolve the names of *ports* to those ports of this machine, whatever port is asked for."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return (
            resolve("127.0.0.1", ports[name], *more, **options)
            if name in ports
            else resolve(host, port, *more, **options)
        )

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def in_folder(line: str, folder: Path) -> str:
    """Put the files and sockets of a line into *folder*."""
    for place in SOCKET_FOLDERS:
        line = line.replace(place, str(folder)).replace(quote(place, safe=""), quote(str(folder), safe=""))
    return line.replace("/etc/headrace", str(folder))


@pytest.mark.parametrize(("place", "line"), POSTGRES, ids=[place for place, _ in POSTGRES])
async def test_a_line_for_postgresql_connects(
    place: str,
    line: str,
    database_url_of_app: str,
    certificates: Certificates,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "pooler.example.com" in line and PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    url = in_folder(line, folder)
    address = parse_postgres_url(url)
    ((host, server_port),) = parse_postgres_url(database_url_of_app).hosts
    target = (host, int(server_port or 0))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    async with AsyncExitStack() as stack:
        if "pooler.example.com" in line:
            pooled = await stack.enter_async_context(
                pgbouncer(database_url_of_app, "pool_mode = transaction")
            )
            ((_, port),) = parse_postgres_url(pooled).hosts
        elif address.hosts[0][0].startswith("/"):
            port = await stack.enter_async_context(relayed(target, socket=folder / ".s.PGSQL.5432"))
        else:
            context = certificates.server_context(asks_for_a_certificate="mutual" in line)
            port = await stack.enter_async_context(relayed(target, context if "sslmode" in line else None))
        resolve_to(
            monkeypatch,
            {name: 1 if name.startswith("down.") else int(port or 0) for name, _ in address.hosts},
        )
        settings = read_settings({"HEADRACE_DATABASE_URL": url})
        pool = await StatementPool.open(settings.database, size=1)
        engine = build_engine(settings.database)
        rows = await pool.fetch("SELECT current_user AS role, current_database() AS name")
        async with engine.connect() as connection:
            role = (await connection.execute(text("SELECT current_user"))).scalar_one()
        await engine.dispose()
        await pool.close()

    assert (rows[0]["role"], rows[0]["name"], role) == ("app", "jobs", "app")


@pytest.mark.parametrize(("place", "line"), REDIS, ids=[place for place, _ in REDIS])
async def test_a_line_for_redis_connects(
    place: str,
    line: str,
    redis_port: int,
    certificates: Certificates,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = in_folder(line, folder)
    address = parse_redis_url(url)
    target = ("127.0.0.1", redis_port)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    context = certificates.server_context(asks_for_a_certificate="mutual" in line)
    async with relayed(
        target,
        context if line.startswith("rediss") else None,
        is_postgres=False,
        socket=folder / "redis.sock" if line.startswith("unix") else None,
    ) as port:
        resolve_to(monkeypatch, {address.arguments.get("host", ""): port})
        settings = read_settings({"HEADRACE_REDIS_URL": url})
        redis = build_redis(settings.redis or url)
        is_usable = await require_usable(redis)
        await close_redis(redis)

    assert is_usable


def test_the_page_has_lines_for_both_servers() -> None:
    assert (len(POSTGRES), len(REDIS)) == (
        PAGE.count("`HEADRACE_DATABASE_URL='"),
        PAGE.count("`HEADRACE_REDIS_URL='"),
    )
    assert min(len(POSTGRES), len(REDIS)) > 10
