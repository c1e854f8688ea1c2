"""Injects all kinds of faults into a mixed run, in an order that the seed decides."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Final

import redis.asyncio as async_redis

from faults import servers
from faults.flushes import slow_flushes
from faults.mixed_workers import MixedWorkers
from faults.proxy import Mode, Proxy
from faults.read_only_store import read_only
from faults.stream_torment import Torment
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import EmbeddedServer
from headrace.domain.database import TRANSIENT
from headrace.settings import Settings
from support.injected_errors import COUNT_WRITES, SQLSTATES, inject, stop_injecting
from support.patience import until_async

_EVERY: Final = 10
_MIN_WRITES: Final = 100
_FLUSH_SECONDS: Final = 1.0
# When a worker last reported a store that it cannot write, in microseconds since 1970.
_LAST_REFUSAL: Final = """
SELECT coalesce(max(extract(epoch FROM failed_at) * 1000000), 0)::bigint AS count
FROM chore_failures WHERE name = 'storage'
"""

Fault = Callable[[], Awaitable[None]]
Condition = Callable[[], AbstractAsyncContextManager[None]]


class MixedFaults:
    """The faults of a mixed run; `fault_counts` counts them by kind."""

    def __init__(
        self,
        settings: Settings,
        database: StatementPool,
        postgres: EmbeddedServer,
        redis: EmbeddedServer,
        proxy: Proxy,
        torment: Torment,
        workers: MixedWorkers,
        random_source: Random,
    ) -> None:
        self._settings = settings
        self._database = database
        self._postgres = postgres
        self._redis = redis
        self._proxy = proxy
        self._torment = torment
        self._workers = workers
        self._random = random_source
        self._counts = Counter[str]()

    @property
    def fault_counts(self) -> Counter[str]:
        return self._counts + self._torment.fault_counts + self._workers.fault_counts

    async def inject_all(self, rounds: int) -> None:
        """Inject each sudden fault once a round, under each lasting condition in turn, and without one."""
        for _ in range(rounds):
            faults: list[Fault] = [
                *(self._workers.kill, self._workers.freeze, self._workers.stop),
                *(self._workers.deploy, self._workers.deploy),
                *(self._torment.kill_api, self._torment.deploy_api, self._freeze_api),
                *(self._torment.restart_redis, self._torment.cut_pubsub),
                *(self._flush_redis, self._restart_postgres),
                *(self._cut_connections, self._reset_connections),
            ]
            conditions: list[Condition] = [
                *(self._slow_flushes, self._failing_writes, self._read_only_store, self._no_condition),
            ]
            self._random.shuffle(faults)
            self._random.shuffle(conditions)
            for number, condition in enumerate(conditions):
                async with condition():
                    for fault in faults[number :: len(conditions)]:
                        await asyncio.sleep(self._random.uniform(0.2, 1.0))
                        await fault()

    @asynccontextmanager
    async def _no_condition(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def _slow_flushes(self) -> AsyncIterator[None]:
        async with slow_flushes(self._postgres.url, _FLUSH_SECONDS):
            yield
        self._counts["flushes slowed"] += 1

    @asynccontextmanager
    async def _failing_writes(self) -> AsyncIterator[None]:
        """Answer some writes of the workers with errors."""
        await self._persist(lambda: inject(self._database, *SQLSTATES, every=_EVERY))
        written = await self._fetch_count(COUNT_WRITES)
        try:
            yield
            await self._until_more_than(COUNT_WRITES, written + _MIN_WRITES)
        finally:
            await self._persist(lambda: stop_injecting(self._database))
        self._counts["SQLSTATEs injected"] += (await self._fetch_count(COUNT_WRITES) - written) // _EVERY

    @asynccontextmanager
    async def _read_only_store(self) -> AsyncIterator[None]:
        """Let the store refuse files, at least until a worker has reported it."""
        last_refusal = await self._fetch_count(_LAST_REFUSAL)
        with read_only(self._settings.blob_dir):
            yield
            await self._until_more_than(_LAST_REFUSAL, last_refusal)
        self._counts["store read-only"] += 1

    async def _restart_postgres(self) -> None:
        """Stop PostgreSQL at once, without a checkpoint, and start it again."""
        await servers.stop(self._postgres, signal.SIGQUIT)
        await servers.start(self._postgres)
        self._counts["PostgreSQL restarted"] += 1

    async def _freeze_api(self) -> None:
        await self._torment.freeze_api(self._random.uniform(0.5, 3.0))

    async def _flush_redis(self) -> None:
        async with async_redis.Redis.from_url(self._redis.url) as client:
            await client.flushall()
        self._counts["Redis flushed"] += 1

    async def _cut_connections(self) -> None:
        await servers.terminate_sessions(self._database)
        self._counts["sessions terminated"] += 1

    async def _reset_connections(self) -> None:
        """Reset the connections of one worker to PostgreSQL, after they were silent for a while."""
        await self._proxy.become(Mode.STALL)
        await asyncio.sleep(self._random.uniform(0.2, 2.0))
        await self._proxy.become(Mode.DROP)
        await asyncio.sleep(self._random.uniform(0.2, 1.0))
        await self._proxy.become(Mode.PASS)
        self._counts["connections reset"] += 1

    async def _until_more_than(self, statement: str, count: int) -> None:
        async def has_more() -> bool:
            return await self._fetch_count(statement) > count

        await until_async(has_more, lambda: f"no more than {count}: {statement}")

    async def _fetch_count(self, statement: str) -> int:
        counts: list[int] = []

        async def fetch() -> None:
            (row,) = await self._database.fetch(statement)
            counts.append(row["count"])

        await self._persist(fetch)
        return counts[-1]

    async def _persist(self, query: Fault) -> None:
        """Repeat *query* until PostgreSQL has answered it."""

        async def is_done() -> bool:
            try:
                await query()
            except TRANSIENT:
                return False
            return True

        await until_async(is_done, lambda: "PostgreSQL does not answer")
