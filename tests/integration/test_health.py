"""Health probes and start checks while PostgreSQL, Redis or the schema is missing."""

import asyncio
from typing import Any

import msgspec
import pytest

from faults.proxy import Mode, proxied
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.schema import SchemaBehindError
from headrace.cli.start_checks import check_start
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import until_async


async def ready(api: Api) -> tuple[int, list[str]]:
    response = await api.http.get("/health/ready")
    body: dict[str, Any] = response.json()
    return response.status_code, body["degraded"]


async def until_ready(api: Api) -> None:
    async def is_ready() -> bool:
        return await ready(api) == (200, [])

    await until_async(is_ready)


async def test_readiness_names_unavailable_services_and_the_process_stays_alive(settings: Settings) -> None:
    async with (
        proxied(str(settings.database_url)) as (database, database_url),
        proxied(str(settings.redis_url)) as (redis, redis_url),
        working(settings),
        serving(msgspec.structs.replace(settings, database_url=database_url, redis_url=redis_url)) as api,
    ):
        await until_ready(api)
        await redis.become(Mode.DROP)
        without_redis = await ready(api)
        await database.become(Mode.DROP)
        without_both = await ready(api)
        alive = await api.http.get("/health/live")
        await redis.become(Mode.PASS)
        await database.become(Mode.PASS)
        await until_ready(api)

    assert without_redis == (200, ["redis"])
    assert without_both == (503, ["postgresql", "redis"])
    assert (alive.status_code, alive.json()["status"]) == (200, "ok")


async def test_with_an_outdated_schema_the_api_is_not_ready_and_does_not_start(settings: Settings) -> None:
    await asyncio.to_thread(AlembicCommands(str(settings.database_url)).downgrade, "base")

    async with serving(settings) as api:
        readiness = await ready(api)
    with pytest.raises(SchemaBehindError, match="headrace migrate"):
        await asyncio.to_thread(check_start, settings, "127.0.0.1")

    assert readiness == (503, ["schema"])
