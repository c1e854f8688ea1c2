"""The pods of a Deployment of deploy/k8s: worker processes, started and stopped as by Kubernetes."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from faults import processes
from faults.processes import LoggedProcess
from headrace.settings import Settings
from support.k8s import Manifest, container_of, template_of
from support.patience import STALL_SECONDS

# A signal ends a worker that has set no handler yet.
GOOD_STATUSES: Final = frozenset({0, -signal.SIGTERM})


class Fleet:
    """Worker processes with the arguments and the times of the Deployment.

    *replicas* counts those that shall run, *alive* also those that are stopping. *died* are the outputs of
    those that ended although nobody stopped them, *killed* is the number of those that did not end in their
    time, *statuses* are the exit statuses of the others.
    """

    def __init__(
        self, deployment: Manifest, settings: Settings, stack: AsyncExitStack, random_source: random.Random
    ) -> None:
        self._deployment = deployment
        self._settings = settings
        self._stack = stack
        self._random = random_source
        self._workers: list[LoggedProcess] = []
        self._ends: list[asyncio.Task[None]] = []
        self.died: list[str] = []
        self.killed = 0
        self.statuses: list[int] = []

    @property
    def replicas(self) -> int:
        return len(self._workers)

    @property
    def alive(self) -> int:
        return len(self._workers) + sum(not end.done() for end in self._ends)

    async def scale(self, replicas: int) -> None:
        """Start or stop workers until there are *replicas*, without waiting until they are ready or gone."""
        while len(self._workers) < replicas:
            starting = processes.running(self._settings, *container_of(self._deployment)["args"])
            self._workers.append(await self._stack.enter_async_context(starting))
        while len(self._workers) > replicas:
            self._ends.append(asyncio.create_task(self._stop(self._choose())))

    def _choose(self) -> LoggedProcess:
        """Take a worker out of the Deployment: one that is not ready before any that is."""
        starting = [worker for worker in self._workers if "worker_ready" not in worker.output]
        chosen = self._random.choice(starting or self._workers)
        self._workers.remove(chosen)
        return chosen

    async def _stop(self, worker: LoggedProcess) -> None:
        """Send SIGTERM, and SIGKILL after the time that Kubernetes gives a pod."""
        if worker.process.returncode is not None:
            self.died.append(worker.output)
            return
        worker.send(signal.SIGTERM)
        allowed = template_of(self._deployment)["spec"]["terminationGracePeriodSeconds"]
        try:
            self.statuses.append(await asyncio.wait_for(worker.process.wait(), allowed + STALL_SECONDS))
        except TimeoutError:
            self.killed += 1
            await worker.kill()

    async def close(self) -> None:
        """Stop all workers, and wait until they have ended."""
        await self.scale(0)
        await asyncio.gather(*self._ends)


@asynccontextmanager
async def deployed(
    deployment: Manifest, settings: Settings, random_source: random.Random
) -> AsyncIterator[Fleet]:
    """Run the Deployment without workers, until it is scaled. The block ends after its last worker.

    A process does not start and stop faster than on a real machine, so its times are the shipped ones.
    """
    environment = {variable["name"]: variable.get("value") for variable in container_of(deployment)["env"]}
    stop_seconds = float(str(environment["HEADRACE_STOP_SECONDS"]))
    async with AsyncExitStack() as stack:
        shipped = msgspec.structs.replace(settings, stop_seconds=stop_seconds)
        fleet = Fleet(deployment, shipped, stack, random_source)
        yield fleet
        await fleet.close()
