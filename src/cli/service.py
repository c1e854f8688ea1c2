"""Starts the API and the workers, waits until they are ready, and stops them in order."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from os import putenv
from pathlib import Path
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from headrace.adapters.private_files import make_private_folder
from headrace.cli.listener import find_free_ports
from headrace.cli.managed_process import ManagedProcess, Report, StartRefusedError
from headrace.cli.reloading import IMPORTS_SUFFIX, WatchedFiles, watch_changes
from headrace.cli.start_notice import withdraw_start
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings

_READY_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.05
_API_STOP_SECONDS: Final = 15.0
_FAULTS_SUFFIX: Final = ".faults"

OnReloaded = Callable[[], Awaitable[None]]
"""Is called when the service is ready again after files have changed."""


class NotReadyError(HeadraceError):
    """The processes run, but the service does not become ready."""

    def __init__(self, reason: str, logs: Path) -> None:
        super().__init__(f"the service was not ready within {_READY_SECONDS:g} s ({reason}): see {logs}")


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """Which processes to run, and where."""

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
    def url(self) -> str:
        return local_url(self.host, self.port)


def local_url(host: str, port: int) -> str:
    """Return the URL under which a browser on this machine reaches that address."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (compared, not bound)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def export_environment(environment: Mapping[str, str]) -> None:
    """Set variables for our child processes. Our own settings are already read and do not change."""
    for name, value in environment.items():
        putenv(name, value)


class Service:
    """The API and the workers of one spec, each as a process."""

    def __init__(self, spec: ServiceSpec, report: Report, on_reloaded: OnReloaded | None = None) -> None:
        self._spec = spec
        self._report = report
        self._on_reloaded = on_reloaded
        address = ("--host", spec.host, "--port", str(spec.port))
        self.api = ManagedProcess("api", ["api", *address, "--tied"], spec.logs, report)
        self._run_dir = spec.data_dir / "run"
        settings = spec.settings
        ports = find_free_ports(settings.worker_host, settings.worker_port, spec.workers, besides=spec.port)
        self.workers = [self._managed_worker(number, port) for number, port in enumerate(ports, start=1)]
        self._reloading: asyncio.Task[None] | None = None
        self._awaiting_reload: asyncio.Task[None] | None = None

    def _managed_worker(self, number: int, port: int) -> ManagedProcess:
        crash_record = self._run_dir / f"worker-{number}.crash"
        arguments = ["worker", "--alone", "--tied", "--crash-record", str(crash_record), "--port", str(port)]
        arguments += ["--faults", str(self._run_dir / f"worker-{number}{_FAULTS_SUFFIX}")]
        if self._spec.reload:
            arguments += ["--imports", str(self._run_dir / f"worker-{number}{IMPORTS_SUFFIX}")]
        logs = self._spec.logs
        return ManagedProcess(f"worker {number}", arguments, logs, self._report, crash_record=crash_record)

    def start(self) -> None:
        """Start every process, and with `reload` watch the Python files."""
        # Records of an earlier run explain nothing: the whole service was ended with its workers.
        shutil.rmtree(self._run_dir, ignore_errors=True)
        make_private_folder(self._run_dir)
        for process in (self.api, *self.workers):
            process.start()
        if self._spec.reload:
            self._reloading = asyncio.create_task(self._reload())

    def load_faults(self) -> list[str]:
        """Return a line for each fault that the workers have found in the sources of pipelines."""
        faults: dict[str, None] = {}
        for path in sorted(self._run_dir.glob(f"*{_FAULTS_SUFFIX}")):
            faults |= dict.fromkeys(msgspec.json.decode(path.read_bytes(), type=list[str]))
        return list(faults)

    async def wait_until_ready(self) -> None:
        """Wait until the API answers and every worker has registered.

        Raises:
            StartRefusedError: a process refuses to start.
            NotReadyError: the service is not ready after 90 s.
        """
        deadline = time.monotonic() + _READY_SECONDS
        reason = "the API does not answer"
        async with httpx.AsyncClient(base_url=self._spec.url, timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                self._raise_refusal()
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get("/health/ready")
                    missing = answer.json().get("degraded", [])
                    if answer.status_code == 200 and "worker" not in missing and self._are_announced():
                        withdraw_start(self._spec.data_dir)
                        return
                    reason = f"away: {', '.join(missing) or 'workers'}"
                await asyncio.sleep(_POLL_SECONDS)
        raise NotReadyError(reason, self._spec.logs)

    async def wait_until_refused(self) -> None:
        """Wait until a process refuses to start again.

        Raises:
            StartRefusedError: the refusal.
        """
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_refusal()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop the workers first, so that they can hand back their jobs, then the API."""
        for task in (self._reloading, self._awaiting_reload):
            if task is not None:
                task.cancel()
        stop_seconds = self._spec.settings.stop_seconds
        await asyncio.gather(*(worker.stop(stop_seconds, hurry) for worker in self.workers))
        await self.api.stop(_API_STOP_SECONDS, hurry)
        if hurry.is_set():
            self._report("headrace", "interrupted twice: running steps were killed, their jobs go on later")

    def _are_announced(self) -> bool:
        if self.api.is_restarting:
            return False
        # Only the logs tell our workers from those of another machine or of an earlier run.
        is_logged = self._spec.settings.log_level in ("debug", "info")
        return all(worker.is_announced for worker in self.workers) or not is_logged

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [process.task for process in (self.api, *self.workers) if process.task is not None]

    def _raise_refusal(self) -> None:
        for task in self._tasks():
            if task.done():
                task.result()

    async def _reload(self) -> None:
        async for path in watch_changes(WatchedFiles(self._spec.settings.pipelines, self._run_dir)):
            self._report("reload", f"{path.name} changed")
            for worker in self.workers:
                worker.restart(self._spec.settings.stop_seconds)
            self.api.restart(_API_STOP_SECONDS)
            if self._awaiting_reload is not None:
                self._awaiting_reload.cancel()
            self._awaiting_reload = asyncio.create_task(self._await_reload())

    async def _await_reload(self) -> None:
        """Call *on_reloaded* when the service is ready again. A refused start ends the whole service."""
        try:
            await self.wait_until_ready()
            if self._on_reloaded is not None:
                await self._on_reloaded()
        except StartRefusedError:
            return
        except HeadraceError as error:
            self._report("reload", str(error))
        except Exception as error:  # noqa: BLE001  (of PostgreSQL, of a file, of an answer: the service goes on)
            self._report("reload", f"what is served is not known: {str(error) or type(error).__name__}")
