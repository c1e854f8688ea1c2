"""What is wrong with Redis is told apart, and passes by itself; jobs start and end without it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.asyncio as async_redis
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from headrace.adapters.redis_errors import redis_trouble
from headrace.adapters.servers import Servers
from headrace.domain.conditions import Condition
from headrace.settings import Settings
from support.harness import Api
from support.patience import until_async

USER, PASSWORD = "app", "first"


async def run(client: async_redis.Redis, *command: str) -> None:
    await client.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
async def admin(servers: Servers) -> AsyncIterator[async_redis.Redis]:
    """A client of the default user."""
    async with async_redis.Redis.from_url(str(servers.redis_url)) as client:
        yield client


@pytest.fixture(scope="module")
async def module_settings(
    servers: Servers,
    module_database_url: str,
    admin: async_redis.Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Settings]:
    """Settings of a service with a Redis user of its own."""
    await run(admin, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    parts = urlsplit(str(servers.redis_url))
    yield Settings(
        database_url=module_database_url,
        redis_url=f"redis://{USER}:{PASSWORD}@{parts.hostname}:{parts.port}",
        data_dir=tmp_path_factory.mktemp("service"),
        lease_seconds=60,
    )
    await run(admin, "ACL", "DELUSER", USER)


FAULTS = {
    "redis: wrong password": (
        ("ACL", "SETUSER", USER, "resetpass", ">second"),
        ("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}"),
    ),
    "redis: missing right to SET on arq:job:*": (
        ("ACL", "SETUSER", USER, "-@write"),
        ("ACL", "SETUSER", USER, "+@all"),
    ),
    "redis: full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    # No server listens there; until the first copy the data stay as they are.
    "redis: read-only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
}


@asynccontextmanager
async def broken(admin: async_redis.Redis, entry: str) -> AsyncIterator[None]:
    """Break Redis for the block, and cut the connections that the service has."""
    breaks, mends = FAULTS[entry]
    await run(admin, *breaks)
    try:
        await run(admin, "CLIENT", "KILL", "USER", USER)
        yield
    finally:
        await run(admin, *mends)


async def ready(api: Api) -> tuple[int, list[str]]:
    response = await api.http.get("/health/ready")
    return response.status_code, response.json()["degraded"]


async def until_ready(api: Api, *entries: str) -> None:
    async def is_so() -> bool:
        return await ready(api) == (200, list(entries))

    await until_async(is_so)


@pytest.mark.parametrize("entry", FAULTS)
async def test_each_fault_has_its_entry_and_its_lines_and_passes_by_itself(
    service: Api, admin: async_redis.Redis, entry: str
) -> None:
    await until_ready(service)
    with capture_logs() as logs:
        async with broken(admin, entry):
            await until_ready(service, entry)
            during = await service.finish((await service.submit("noop"))["id"])
        await until_ready(service)

        async def are_over() -> bool:
            events = events_of(logs)
            return events.count("outage_over") == events.count("outage_began")

        await until_async(are_over)
    after = await service.finish((await service.submit("noop"))["id"])

    assert during["state"] == after["state"] == "succeeded"
    # API and worker have a line each; cut connections may have ended and begun one more.
    assert 1 <= events_of(logs).count("outage_began") <= 4
    conditions = {log["condition"] for log in logs if log["event"] in ("outage_began", "outage_changed")}
    assert entry.removeprefix("redis: ") in conditions
    assert not [log for log in logs if log["event"].endswith(("_dropped", "_away", "_shared"))]


def events_of(logs: list[Any]) -> list[str]:
    """Return the lines of the outages of Redis."""
    return [log["event"] for log in logs if log.get("service") == "redis"]


@pytest.mark.parametrize(
    ("error", "condition", "cause"),
    [
        (
            ResponseError("MISCONF cannot persist to disk"),
            Condition.READ_ONLY,
            "cannot save to its disk",
        ),
        (AuthenticationError("Authentication required."), Condition.REFUSING, "wrong password"),
        (
            ResponseError("ACL failure in script: no permissions"),
            Condition.REFUSING,
            "missing rights",
        ),
        (RedisConnectionError("max number of clients reached"), Condition.OUT_OF_CONNECTIONS, ""),
        (RedisConnectionError("Connection refused"), Condition.AWAY, ""),
        (TimeoutError(), Condition.AWAY, ""),
    ],
)
def test_errors_that_are_dear_to_provoke_are_told_apart_as_well(
    error: Exception, condition: Condition, cause: str
) -> None:
    trouble = redis_trouble(error)

    assert (trouble.condition, trouble.cause) == (condition, cause)
    assert trouble.reason.startswith(type(error).__name__)
