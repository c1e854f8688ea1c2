"""Rate limits per caller, shared by all processes through Redis, and without Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from arq.connections import ArqRedis
from websockets.exceptions import ConnectionClosed

from headrace.adapters import rate_limiter, redis_client
from headrace.adapters.rate_limiter import SharedLimiter
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.request_info import RequestInfo
from headrace.api.middleware.rate_limits import RateLimitedError, RateLimits
from headrace.domain.accounts.keys import make_key
from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving
from support.patience import PATIENCE_SECONDS, open_socket

NOWHERE = "redis://127.0.0.1:1/0"
JOBS = "/api/v1/jobs"


@pytest.fixture
def settings(module_database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=module_database_url, redis_url=redis_url, data_dir=tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the Redis timeout: a busy test machine must not count as an unavailable Redis."""
    monkeypatch.setattr(rate_limiter, "_TIMEOUT_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[ArqRedis]:
    client = build_redis(redis_url)
    yield client
    await close_redis(client)


@asynccontextmanager
async def serving_with(settings: Settings, **changed: Any) -> AsyncIterator[Api]:
    async with serving(msgspec.structs.replace(settings, **changed)) as api:
        yield api


async def waiting_job(settings: Settings, api: Api) -> str:
    """Return the path of a job that does not start."""
    await register_pipelines(settings)
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    return f"{JOBS}/{job['id']}"


def max_refilled(since: float, per_minute: int) -> int:
    """Return the maximum number of permits that were refilled since *since*."""
    return int((time.monotonic() - since) * per_minute / 60) + 1


async def get_statuses(api: Api, count: int, path: str = JOBS, **request: Any) -> list[int]:
    return [(await api.http.get(path, **request)).status_code for _ in range(count)]


async def closing(url: str) -> tuple[int | None, str | None]:
    """Return the code with which the service closes a socket."""
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url) as socket:
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def test_two_limiters_together_grant_no_more_than_the_limit(redis: ArqRedis) -> None:
    first, second = SharedLimiter(redis), SharedLimiter(redis)

    began = time.monotonic()

    permits = [await limiter.acquire("user:a", 50) for _ in range(60) for limiter in (first, second)]

    assert None not in permits
    granted = sum(permit.is_granted for permit in permits if permit is not None)
    assert 50 <= granted <= 50 + max_refilled(began, 50)


async def test_concurrent_limiters_share_the_limit(redis: ArqRedis) -> None:
    limiters = [SharedLimiter(redis) for _ in range(4)]
    began = time.monotonic()

    permits = await asyncio.gather(*(limiter.acquire("a", 300) for _ in range(200) for limiter in limiters))

    granted = sum(permit is not None and permit.is_granted for permit in permits)
    assert 300 - 3 * len(limiters) <= granted <= 300 + max_refilled(began, 300)


async def test_a_busy_caller_takes_few_redis_round_trips(redis: ArqRedis) -> None:
    limiter = SharedLimiter(redis)
    await redis.config_resetstat()

    permits = [await limiter.acquire("a", 6_000) for _ in range(1_000)]

    stats: Any = await redis.info("commandstats")
    assert all(permit is not None and permit.is_granted for permit in permits)
    assert stats["cmdstat_eval"]["calls"] < 80


async def test_prefetched_permits_cost_a_caller_little_of_its_limit(redis: ArqRedis) -> None:
    used = 0
    # In the worst case each process lets its prefetched permits lapse.
    for _ in range(20):
        limiter = SharedLimiter(redis)
        for _ in range(64):
            permit = await limiter.acquire("a", 2_000)
            used += permit is not None and permit.is_granted

    left = await SharedLimiter(redis).acquire("a", 2_000)

    assert used == 20 * 64
    assert left is not None
    assert 2_000 - left.left <= used * 9 / 8 + 1


async def test_a_refused_caller_takes_almost_no_redis_round_trips(redis: ArqRedis) -> None:
    limiter = SharedLimiter(redis)
    while (await _acquire(limiter)).is_granted:
        pass
    await redis.config_resetstat()

    refused = [await _acquire(limiter) for _ in range(100)]

    stats: Any = await redis.info("commandstats")
    assert not any(permit.is_granted for permit in refused)
    assert all(0 < permit.retry_seconds <= 12 for permit in refused)
    assert stats.get("cmdstat_eval", {"calls": 0})["calls"] <= 3


async def _acquire(limiter: SharedLimiter) -> Any:
    permit = await limiter.acquire("a", 5)
    assert permit is not None
    return permit


async def test_the_redis_key_of_a_caller_expires_once_its_bucket_is_full(redis: ArqRedis) -> None:
    await SharedLimiter(redis).acquire("a", 600)

    async with asyncio.timeout(PATIENCE_SECONDS):
        left = await redis.pttl("headrace:limit:a")
        while await redis.exists("headrace:limit:a"):
            await asyncio.sleep(0.02)
    assert left <= 100


async def test_a_silent_redis_is_given_up_after_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "_TIMEOUT_SECONDS", 0.2)
    # Another wait, or another try, would take longer than this test waits.
    monkeypatch.setattr(rate_limiter, "_RETRY_SECONDS", 600)
    monkeypatch.setattr(redis_client, "_TIMEOUT_SECONDS", 600)
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    client = build_redis(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0")
    limiter = SharedLimiter(client)

    async with asyncio.timeout(PATIENCE_SECONDS):
        first = await limiter.acquire("a", 60)
    # The others do not even wait for another turn of the loop.
    others = asyncio.gather(*(limiter.acquire("a", 60) for _ in range(100)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert first is None
    assert others.done()
    assert await others == [None] * 100
    await close_redis(client)
    silent.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_a_rate_limited_address_gets_429_with_retry_after(settings: Settings) -> None:
    async with serving_with(settings, rate_limit_address=3) as api:
        first = await api.http.get(JOBS)
        statuses = await get_statuses(api, 2)
        refused = await api.http.get(JOBS)
        probe = await api.http.get("/health/live")

    assert [first.status_code, *statuses, refused.status_code] == [200, 200, 200, 429]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert first.headers["ratelimit-policy"] == '"address";q=3;w=60'
    assert first.headers["ratelimit"] == '"address";r=2;t=20'
    assert refused.headers["ratelimit"].startswith('"address";r=0;t=')
    # A cluster sends all its probes from one address; other callers must not make them fail.
    assert probe.status_code == 200
    assert "ratelimit" not in probe.headers


async def test_a_user_is_limited_across_addresses(settings: Settings) -> None:
    users = {"trusted_proxies": ("127.0.0.1",), "auth": "proxy", "rate_limit_user": 2}
    async with serving_with(settings, **users) as api:
        ada = [
            (await api.http.get(JOBS, headers=named("ada", f"203.0.113.{number}"))).status_code
            for number in range(3)
        ]
        bob = await api.http.get(JOBS, headers=named("bob", "203.0.113.1"))

    assert ada == [200, 200, 429]
    assert bob.status_code == 200
    assert bob.headers["ratelimit"] == '"user";r=1;t=30'


def named(user: str, address: str) -> dict[str, str]:
    return {"X-Forwarded-Preferred-Username": user, "X-Forwarded-For": address}


async def test_two_apis_share_the_limit_of_a_user(settings: Settings) -> None:
    async with (
        serving_with(settings, rate_limit_user=4) as first,
        serving_with(settings, rate_limit_user=4) as second,
    ):
        statuses = [await get_statuses(api, 1) for _ in range(3) for api in (first, second)]

    assert statuses == [[200]] * 4 + [[429]] * 2


async def test_failed_authentications_count_against_the_address(settings: Settings) -> None:
    guessing = {"auth": "token", "secret_key": "s" * 32, "rate_limit_address": 3}
    async with serving_with(settings, **guessing) as api:
        statuses = [
            (await api.http.get(JOBS, headers={"Authorization": f"Bearer {make_key().text}"})).status_code
            for _ in range(4)
        ]
        anonymous_codes = await get_statuses(api, 1)

    assert statuses == [401, 401, 401, 429]
    assert anonymous_codes == [429]


async def test_a_spoofed_address_does_not_avoid_the_limit(settings: Settings) -> None:
    async with serving_with(settings, rate_limit_address=2) as api:
        statuses = [
            (await api.http.get(JOBS, headers={"X-Forwarded-For": f"203.0.113.{number}"})).status_code
            for number in range(3)
        ]

    assert statuses == [200, 200, 429]


async def test_behind_a_trusted_proxy_each_address_has_its_own_limit(settings: Settings) -> None:
    async with serving_with(settings, rate_limit_address=1, trusted_proxies=("127.0.0.1",)) as api:
        honest = await get_statuses(api, 2, headers={"X-Forwarded-For": "203.0.113.1"})
        other = await get_statuses(api, 1, headers={"X-Forwarded-For": "203.0.113.2"})
        spoofed = await get_statuses(api, 1, headers={"X-Forwarded-For": "1.2.3.4, 203.0.113.2"})

    assert (honest, other, spoofed) == ([200, 429], [200], [429])


async def test_opening_a_stream_counts_and_a_refused_socket_closes_with_a_reason(settings: Settings) -> None:
    async with serving_with(settings, rate_limit_user=2) as api:
        job = await waiting_job(settings, api)
        async with open_socket(f"{api.ws}{job}/ws") as socket:
            await socket.recv()
            for _ in range(5):
                await socket.send('{"type": "ping"}')
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while b"pong" not in await socket.recv(decode=False):
                        pass
            refused = await closing(f"{api.ws}{job}/ws")
            events = await api.http.get(f"{job}/stream")

    assert refused == (1013, "rate_limited")
    assert events.status_code == 429


async def test_a_rate_limited_address_cannot_open_a_socket(settings: Settings) -> None:
    async with serving_with(settings, rate_limit_address=1) as api:
        await get_statuses(api, 1)
        refused = await closing(f"{api.ws}/api/v1/ws")

    assert refused == (1013, "rate_limited")


async def test_the_number_of_open_streams_of_a_user_is_limited(settings: Settings) -> None:
    async with serving_with(settings, max_streams_per_user=2) as api:
        url = await waiting_job(settings, api)
        async with open_socket(f"{api.ws}{url}/ws") as first:
            await first.recv()
            async with api.http.stream("GET", f"{url}/stream") as second:
                third = await closing(f"{api.ws}{url}/ws")
                fourth = await api.http.get(f"{url}/stream")
                assert second.status_code == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            while api.app.state.services.limits.quotas.streams:
                await asyncio.sleep(0.01)
        async with open_socket(f"{api.ws}{url}/ws") as again:
            hello = await again.recv()

    assert third == (1013, "too_many_streams")
    assert (fourth.status_code, fourth.json()["code"]) == (429, "too_many_streams")
    assert "retry-after" in fourth.headers
    assert "hello" in str(hello)


async def test_while_redis_is_down_reads_pass_and_writes_are_counted_locally(settings: Settings) -> None:
    async with serving_with(settings, redis_url=NOWHERE, rate_limit_user=2) as api:
        reads = await get_statuses(api, 6)
        writes = [
            (await api.http.post(JOBS, json={"pipeline": "no_such_pipeline"})).status_code for _ in range(3)
        ]

    assert reads == [200] * 6
    assert writes == [422, 422, 429]


async def test_without_a_redis_url_each_process_counts_all_requests(settings: Settings) -> None:
    async with serving_with(settings, redis_url=None, rate_limit_user=2) as api:
        assert await get_statuses(api, 3) == [200, 200, 429]


async def test_local_mode_has_no_default_limits_and_production_has(settings: Settings) -> None:
    async with serving(settings) as api:
        response = await api.http.get(JOBS)

    assert "ratelimit" not in response.headers
    production = msgspec.structs.replace(settings, env="production")
    limits = [production.per_minute(name) for name in ("user", "address", "login")]
    assert limits == [6_000, 12_000, 60]


@pytest.mark.parametrize("redis_url", [None, NOWHERE])
async def test_sign_ins_have_their_own_limit_with_and_without_redis(redis_url: str | None) -> None:
    client = build_redis(redis_url) if redis_url else None
    settings = Settings(rate_limit_login=2, rate_limit_address=100)
    limits = RateLimits(settings, client, Proxies(settings))

    def request_to(path: str, address: str = "203.0.113.9") -> RequestInfo:
        scope: Any = {"type": "http", "method": "GET", "path_template": path, "headers": []}
        scope["client"] = (address, 1)
        return RequestInfo(scope)

    for _ in range(2):
        await limits.count_address(request_to("/auth/login/{provider}"))
    with pytest.raises(RateLimitedError, match="to sign in"):
        await limits.count_address(request_to("/auth/callback/{provider}"))

    await limits.count_address(request_to("/api/v1/jobs"))
    await limits.count_address(request_to("/auth/login/{provider}", "203.0.113.10"))
    if client is not None:
        await close_redis(client)


async def test_a_request_with_too_many_headers_is_refused(settings: Settings) -> None:
    many = {f"X-{number}": "1" for number in range(120)}
    async with serving(settings) as api:
        response = await api.http.get(JOBS, headers=many)
        async with asyncio.timeout(PATIENCE_SECONDS):
            socket = await open_socket(f"{api.ws}/api/v1/ws", additional_headers=many)
            with suppress(ConnectionClosed):
                await socket.recv()

    assert (response.status_code, response.json()["code"]) == (431, "too_many_headers")
    assert socket.close_code == 4400
