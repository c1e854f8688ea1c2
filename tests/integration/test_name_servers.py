"""PostgreSQL and Redis are reached at their last addresses while no name server answers."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from headrace.adapters import event_loop
from headrace.adapters.database import SESSION
from headrace.adapters.event_loop import ServiceLoop
from headrace.adapters.host_names import HOST_NAMES, HostNames
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.redis_client import build_redis, close_redis
from support.patience import PATIENCE_SECONDS

# Names below `invalid` exist nowhere, so no resolver finds this one.
HOST = "server.invalid"


def renamed(url: str) -> str:
    """Return *url* with `HOST` in place of its host."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.hostname, HOST)))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> HostNames:
    """Names that know the address of `HOST`, and whose name server is away now."""
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]])

    def look_up(_: str) -> Sequence[Any]:
        for answer in answers:
            return answer
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    names = HostNames(look_up, wait_seconds=PATIENCE_SECONDS)
    names.keep([HOST])
    assert asyncio.run(names.find(HOST)) == ["127.0.0.1"]
    monkeypatch.setattr(event_loop, "HOST_NAMES", names)
    return names


def run(coroutine: Any) -> Any:
    with asyncio.Runner(loop_factory=ServiceLoop) as runner:
        return runner.run(coroutine)


@pytest.mark.usefixtures("names")
def test_postgresql_is_reached_at_its_last_address(database_url: str) -> None:
    async def ask() -> Any:
        address = parse_postgres_url(renamed(database_url))
        connection = await PostgresConnector(address, SESSION, answer_seconds=30).connect()
        try:
            return await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    assert run(ask()) == 1
    assert HOST in HOST_NAMES


@pytest.mark.usefixtures("names")
def test_redis_is_reached_at_its_last_address(redis_url: str) -> None:
    async def ask() -> Any:
        redis = build_redis(renamed(redis_url))
        try:
            return await redis.ping()
        finally:
            await close_redis(redis)

    assert run(ask()) is True
    assert HOST in HOST_NAMES
