"""API and workers together: started, waited for, kept alive and stopped in order."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from os import putenv
from pathlib import Path
from typing import Final

import httpx
from msgspec import Struct

from headrace.cli.managed_process import ManagedProcess, Say
from headrace.cli.reloading import changes, watched_folders
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_READY_SECONDS: Final = 90.0
_ASK_SECONDS: Final = 0.05
_API_STOP_SECONDS: Final = 15.0


class NotReadyError(HeadraceError):
    """The parts run, but the service does not answer as it should."""

    def __init__(self, why: str, logs: Path) -> None:
        super().__init__(f"the service was not ready within {_READY_SECONDS:g} s ({why}): see {logs}")


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """What is to run, and where."""

    settings: Settings
    host: str
    port: int
    workers: int
    data_dir: Path
    reload: bool = False

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def address(self) -> str:
        return address_of(self.host, self.port)


def address_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (compared, not bound)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def hand_on(environment: Mapping[str, str]) -> None:
    """Put *environment* into what our child processes get. Our own settings are read already and stay."""
    for name, value in environment.items():
        putenv(name, value)


class Service:
    """The parts of one plan."""

    def __init__(self, plan: ServiceSpec, say: Say) -> None:
        self._plan = plan
        self._say = say
        listen = ("--host", plan.host, "--port", str(plan.port))
        self.api = ManagedProcess("api", ["api", *listen, "--tied"], plan.logs, say)
        self.workers = [
            ManagedProcess(f"worker {number}", ["worker", "--alone", "--tied"], plan.logs, say)
            for number in range(1, plan.workers + 1)
        ]
        self._reloading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start every part, and watch for changes where that was asked for."""
        for part in (self.api, *self.workers):
            part.start()
        if self._plan.reload:
            self._reloading = asyncio.create_task(self._reload())

    async def until_ready(self) -> None:
        """Wait until the API answers and every worker has registered.

        Raises:
            PartRefusedError: a part does not want to start.
            NotReadyError: it takes too long.
        """
        deadline = time.monotonic() + _READY_SECONDS
        why = "the API does not answer"
        async with httpx.AsyncClient(base_url=self._plan.address, timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                self._raise_refusal()
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get("/health/ready")
                    missing = answer.json().get("degraded", [])
                    if answer.status_code == 200 and "worker" not in missing and self._are_announced():
                        return
                    why = f"away: {', '.join(missing) or 'workers'}"
                await asyncio.sleep(_ASK_SECONDS)
        raise NotReadyError(why, self._plan.logs)

    async def until_refused(self) -> None:
        """Runs for as long as every part can be kept alive.

        Raises:
            PartRefusedError: one of them refuses to start again.
        """
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_refusal()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Workers first, so that they can hand back what they run; then the API."""
        if self._reloading is not None:
            self._reloading.cancel()
        # Twice the grace time: steps may end by themselves, then they are told to.
        patience = self._plan.settings.grace_seconds * 2 + 20
        await asyncio.gather(*(worker.stop(patience, hurry) for worker in self.workers))
        await self.api.stop(_API_STOP_SECONDS, hurry)

    def _are_announced(self) -> bool:
        # Only their logs tell our workers from those of another machine, or of the last run.
        said = self._plan.settings.log_level in ("debug", "info")
        return all(worker.is_announced for worker in self.workers) or not said

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [part.task for part in (self.api, *self.workers) if part.task is not None]

    def _raise_refusal(self) -> None:
        for task in self._tasks():
            if task.done():
                task.result()

    async def _reload(self) -> None:
        async for path in changes(watched_folders(self._plan.settings.pipelines)):
            self._say("reload", f"{path.name} changed")
            for part in (*self.workers, self.api):
                part.restart()
