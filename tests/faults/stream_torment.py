"""Injects faults into two API processes and their Redis while clients watch jobs."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import Final

import redis.asyncio as async_redis

from faults import processes, servers
from headrace.adapters.servers import EmbeddedServer
from headrace.settings import Settings

_CUTS: Final = 25


class Torment:
    """Injects faults into the service; `fault_counts` counts them by kind. *command* starts an API."""

    def __init__(
        self,
        settings: Settings,
        redis: EmbeddedServer,
        stack: AsyncExitStack,
        command: tuple[str, ...] = processes.HEADRACE,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._stack = stack
        self._command = command
        self._ports = [processes.free_port(), processes.free_port()]
        self._apis: list[processes.LoggedProcess] = []
        self.fault_counts = Counter[str]()

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    async def begin(self) -> None:
        """Start both API processes."""
        self._apis = list(await asyncio.gather(*(self._start(port) for port in self._ports)))

    def assert_alive(self) -> None:
        """Assert that no API process has ended by itself."""
        for api in self._apis:
            assert api.process.returncode is None, api.output[-4_000:]

    async def cut_pubsub(self) -> None:
        """CLIENT KILL TYPE pubsub, every 100 ms for a while."""
        async with async_redis.Redis.from_url(self._redis.url) as client:
            for _ in range(_CUTS):
                killed = await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                self.fault_counts["pub/sub connections killed"] += killed
                await asyncio.sleep(0.1)

    async def restart_redis(self) -> None:
        """Kill Redis, and start it without its data."""
        await servers.stop_forgetting(self._redis)
        await asyncio.sleep(1.0)
        await servers.start(self._redis)
        self.fault_counts["Redis restarted"] += 1

    async def kill_api(self) -> None:
        """Send SIGKILL to the first API, and start it again."""
        await self._restart(0, signal.SIGKILL, status=-signal.SIGKILL)
        self.fault_counts["API killed"] += 1

    async def deploy_api(self) -> None:
        """Send SIGTERM to the second API, and start it again."""
        await self._restart(1, signal.SIGTERM, status=0)
        self.fault_counts["API stopped"] += 1

    async def freeze_api(self, seconds: float) -> None:
        """Send SIGSTOP to the first API, and let it go on after *seconds*."""
        await processes.freeze(self._apis[:1], seconds)
        self.fault_counts["API frozen"] += 1

    async def _restart(self, index: int, number: signal.Signals, *, status: int) -> None:
        self.assert_alive()
        api = self._apis[index]
        api.send(number)
        assert await api.wait() == status, api.output[-4_000:]
        self._apis[index] = await self._start(self._ports[index])

    async def _start(self, port: int) -> processes.LoggedProcess:
        started, _ = await self._stack.enter_async_context(processes.api(self._settings, port, self._command))
        return started
