"""PostgreSQL and Redis are reached at their last addresses while no name server answers."""

import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from headrace.adapters import redis_client
from headrace.adapters.database import SESSION
from headrace.adapters.host_names import HostNames
from headrace.adapters.postgres_connector import PostgresConnector
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.redis_client import REDIS_ERRORS, build_redis, close_redis
from support.patience import PATIENCE_SECONDS

# Names below `invalid` exist nowhere, so no resolver finds this one.
HOST = "server.invalid"


def renamed(url: str) -> str:
    """Return *url* with `HOST` in place of its host."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.hostname, HOST)))


@pytest.fixture
async def names() -> HostNames:
    """Names that know the address of `HOST`, and whose name server is away now."""
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]])

    def look_up(_: str) -> Sequence[Any]:
        for answer in answers:
            return answer
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    names = HostNames(look_up, wait_seconds=PATIENCE_SECONDS)
    assert await names.find(HOST) == HOST
    return names


async def test_postgresql_is_reached_at_its_last_address(database_url: str, names: HostNames) -> None:
    address = parse_postgres_url(renamed(database_url))

    connection = await PostgresConnector(address, SESSION, answer_seconds=30, host_names=names).connect()

    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


async def test_redis_is_reached_at_its_last_address(
    redis_url: str, names: HostNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = build_redis(renamed(redis_url))
    try:
        with pytest.raises(REDIS_ERRORS):
            await redis.ping()
        monkeypatch.setattr(redis_client, "HOST_NAMES", names)

        assert await redis.ping()
    finally:
        await close_redis(redis)
