"""Three workers of a mixed run, which are killed, frozen, restarted and deployed."""

import asyncio
import shutil
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from faults import processes
from faults.read_only_store import HEADRACE_WITHOUT_OVERRIDE
from headrace.adapters.servers.processes import Process
from headrace.settings import Settings
from headrace.workers.supervisor import RESTARTED
from support.patience import until

FLOWS: Final = Path(__file__).parent / "flows" / "mixed_flows.py"
_RELEASES: Final = (1, 2, 3)
_NEWEST: Final = _RELEASES[-1]
_CONCURRENCY: Final = "8"


class MixedWorkers:
    """Three workers under their supervisors.

    The first one serves the first release to the end, so that the jobs of its version can end. The others are
    deployed with any release. The third one reaches PostgreSQL at *proxied_url*.
    """

    def __init__(
        self, settings: Settings, proxied_url: str, folder: Path, stack: AsyncExitStack, random_source: Random
    ) -> None:
        # A production worker refuses releases that would break the jobs of another one.
        self._settings = msgspec.structs.replace(
            settings, env="production", auth="token", secret_key="a-secret-of-this-run", bundled=("all",)
        )
        self._urls = (settings.database_url, settings.database_url, proxied_url)
        self._folder = folder
        self._stack = stack
        self._random = random_source
        self._workers: list[processes.LoggedProcess] = []
        self._releases = [1, 1, 1]
        self.fault_counts = Counter[str]()

    async def begin(self) -> None:
        """Start all workers with the first release."""
        for release in _RELEASES:
            folder = self._folder / f"release_{release}"
            folder.mkdir(parents=True)
            shutil.copy(FLOWS, folder)
        self._workers = list(await asyncio.gather(*(self._start(index) for index in range(3))))

    async def kill(self) -> None:
        """Send SIGKILL to a worker; its supervisor starts another one."""
        for child in await self._children():
            child.send(signal.SIGKILL)
        self.fault_counts["worker killed"] += 1

    async def freeze(self) -> None:
        """Send SIGSTOP to a worker for a random time, which may be longer than its leases."""
        frozen = await self._children()
        await processes.freeze(frozen, self._random.uniform(0.5, 3.0))
        self.fault_counts["worker frozen"] += 1

    async def stop(self) -> None:
        """Send SIGTERM to the supervisor of a worker, and start both again."""
        index = self._random.randrange(3)
        await self._restart(index, self._releases[index])
        self.fault_counts["worker stopped"] += 1

    async def deploy(self) -> None:
        """Stop a worker, and start it with another release.

        The only worker of the newest release keeps it, so that the jobs of its version can end.
        """
        index = self._random.choice([1, 2])
        if self._releases[index] == _NEWEST != self._releases[3 - index]:
            index = 3 - index
        others = [release for release in _RELEASES if release != self._releases[index]]
        await self._restart(index, self._random.choice(others))
        self.fault_counts[f"release {self._releases[index]} deployed"] += 1

    def assert_alive(self) -> None:
        """Assert that no supervisor has ended by itself."""
        for worker in self._workers:
            assert worker.process.returncode is None, worker.output[-4_000:]

    async def _children(self) -> list[Process]:
        """Return the worker below a random supervisor."""
        supervisor = self._random.choice(self._workers)
        # After a crash the supervisor pauses before it starts the next worker.
        await until(lambda: bool(supervisor.children()), lambda: supervisor.output[-4_000:])
        return supervisor.children()

    async def _restart(self, index: int, release: int) -> None:
        self.assert_alive()
        self._workers[index].send(signal.SIGTERM)
        status = await self._workers[index].wait()
        assert status == 0, self._workers[index].output[-4_000:]
        self._releases[index] = release
        # The store may be read-only now, which would refuse a first start.
        self._workers[index] = await self._start(index, RESTARTED)

    async def _start(self, index: int, *options: str) -> processes.LoggedProcess:
        module = self._folder / f"release_{self._releases[index]}" / FLOWS.name
        settings = msgspec.structs.replace(
            self._settings, database_url=self._urls[index], pipelines=(str(module),)
        )
        return await self._stack.enter_async_context(
            processes.supervised(
                settings, "--concurrency", _CONCURRENCY, *options, command=HEADRACE_WITHOUT_OVERRIDE
            )
        )
