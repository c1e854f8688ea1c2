"""A Redis without free memory, and a Redis that evicts keys."""

from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import redis.asyncio as async_redis

from faults import processes
from faults.checker import assert_kept
from faults.load import Load, assert_in_time
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import open_api

REFUSED = 78


@pytest.fixture
def own(own: Settings) -> Settings:
    """The settings with a lease that outlasts a stall of the machine."""
    return msgspec.structs.replace(own, lease_seconds=60)


async def test_a_full_redis_fails_no_submission_and_puts_no_payload_into_logs(
    own: Settings, own_servers: Servers, ledger: Path
) -> None:
    secret = uuid4().hex
    database = await StatementPool.open(str(own.database_url))
    async with (
        async_redis.Redis.from_url(str(own.redis_url)) as client,
        processes.api(own) as (api_process, address),
        processes.worker(own) as worker,
        open_api(address) as api,
    ):
        await client.config_set("maxmemory", 1)
        with pytest.raises(async_redis.RedisError):
            await client.set("any", "thing")
        load = Load(api.http, ledger.with_name(secret))
        await load.submit_many(20)
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger.with_name(secret))
        assert api_process.process.returncode is worker.process.returncode is None
        assert secret not in api_process.output + worker.output
        [line] = [line for line in api_process.output.splitlines() if "outage_began" in line]
        assert "condition=full" in line
        assert "service=redis" in line
    await database.close()

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 1)}
    assert_in_time([job.start_wait for job in kept.values()], 2)


@pytest.mark.parametrize("arguments", [("api", "--port", "0"), ("worker",), ("worker", "--alone")])
async def test_a_redis_with_an_eviction_policy_is_refused_with_the_command_to_fix_it(
    own: Settings, arguments: tuple[str, ...]
) -> None:
    async with async_redis.Redis.from_url(str(own.redis_url)) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")

    async with processes.running(own, *arguments) as refusing:
        assert await refusing.wait() == REFUSED
    *_, last = refusing.output.splitlines()
    assert "Traceback" not in refusing.output
    assert "maxmemory-policy allkeys-lru" in last
    assert "redis-cli CONFIG SET maxmemory-policy noeviction" in last
