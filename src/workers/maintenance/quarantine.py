"""Runs each suspect, a job that was to blame for two losses, in a worker process of its own."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Final

import asyncpg
import msgspec
import structlog

from headrace.adapters.periodic import run_every
from headrace.adapters.private_files import open_private
from headrace.domain.database import TRANSIENT
from headrace.domain.events.news import JobNews
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.settings import Settings
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.child.process import Child
from headrace.workers.crash_record import Death, read_death
from headrace.workers.fresh_python import fresh_python
from headrace.workers.stop_requests import note_stop

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 0.5
# A process that has not claimed a job by then has found none.
_START_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 2.0


class Quarantine:
    """Starts a worker process for each due suspect, up to *slots* at once, beside the normal work."""

    def __init__(
        self,
        job_queue: JobQueue,
        settings: Settings,
        *,
        folder: Path,
        slots: int,
        publish: Callable[[Sequence[JobNews]], None],
    ) -> None:
        """*folder* holds the crash records of the processes. *publish* gets the news of lost suspects."""
        self._job_queue = job_queue
        self._settings = settings
        self._folder = folder
        self._slots = slots
        self._publish = publish
        self._numbers = count(1)
        self._stopping = StopSignal()
        self._processes: dict[asyncio.Task[None], SuspectProcess] = {}
        self._paused_until = 0.0

    async def run(self) -> None:
        """Look for due suspects twice a second, until cancelled."""
        await run_every(_PERIOD_SECONDS, self.start_due)

    async def start_due(self) -> int:
        """Start a process for each due suspect that none is starting for; return how many were started."""
        free = self._slots - len(self._processes)
        if self._stopping.is_set or free <= 0 or time.monotonic() < self._paused_until:
            return 0
        starting = sum(process.is_starting for process in self._processes.values())
        due = await self._job_queue.count_due_suspects(self._slots + starting)
        started = 0
        # `stop` may have been called during the query.
        while started < min(free, due - starting) and not self._stopping.is_set:
            try:
                process = self._start()
            except OSError as error:
                _log.error("cannot_run_alone", error=str(error))
                break
            task = asyncio.create_task(self._attend(process))
            self._processes[task] = process
            task.add_done_callback(self._processes.pop)
            started += 1
        return started

    def stop(self) -> None:
        """Start no more processes, and have the running ones hand their jobs back."""
        self._stopping.set()
        for process in self._processes.values():
            note_stop(process.crash_record)
        self._signal(SIGTERM)

    async def wait_stopped(self, seconds: float) -> None:
        """Wait until all processes have ended; kill those that take longer than *seconds*."""
        if not self._processes:
            return
        _, late = await asyncio.wait(self._processes, timeout=seconds)
        if late:
            self._signal(SIGKILL)
            await asyncio.wait(late)

    def _signal(self, number: Signals) -> None:
        for process in self._processes.values():
            process.child.signal(number)

    def _start(self) -> "SuspectProcess":
        """Start a worker that claims one suspect and ends with it."""
        crash_record = self._folder / f"suspect-{next(self._numbers)}.crash"
        settings, secrets = self._settings.split_environment()
        # Its environment is that of a step, because an author's code runs in it.
        secrets_file = crash_record.with_suffix(".secrets")
        with open_private(secrets_file, "xb") as file:
            file.write(msgspec.json.encode(secrets))
        queues = self._job_queue.worker.queues
        options = [option for queue in queues for option in ("--queue", queue)]
        child = Child(
            fresh_python(
                *("headrace.cli.main", "worker", "--alone", "--suspect"),
                *("--parent", str(os.getpid()), "--crash-record", str(crash_record)),
                *("--secrets", str(secrets_file), *options),
            ),
            environment=self._settings.step_environment() | settings,
        )
        return SuspectProcess(child, crash_record, secrets_file)

    async def _attend(self, process: "SuspectProcess") -> None:
        """Wait for the end of *process*. If its job has ended it, requeue or fail the job at once."""
        status = await process.child.wait()
        _log.warning("ran_alone", status=status)
        death = process.death()
        if status != 0 and (death is None or death.blamed is None):
            # It failed at its start, and the next one would as well.
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
        process.crash_record.unlink(missing_ok=True)
        process.secrets_file.unlink(missing_ok=True)
        # A process that this worker kills at its own end is not its job's fault; nor is an end in order.
        if death is None or death.blamed is None or self._stopping.is_set:
            return
        try:
            self._publish(await self._job_queue.rescue_from(death.worker, death.blamed))
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            # The lease runs out, and nobody is blamed.
            _log.warning("suspect_not_rescued", job_id=str(death.blamed[0]), reason=str(error))


class SuspectProcess:
    """A worker process that runs one suspect."""

    def __init__(self, child: Child, crash_record: Path, secrets_file: Path) -> None:
        self.child = child
        self.crash_record = crash_record
        self.secrets_file = secrets_file
        self._started_at = time.monotonic()

    @property
    def is_starting(self) -> bool:
        """Whether the process may still claim a job."""
        if time.monotonic() - self._started_at > _START_SECONDS:
            return False
        death = self.death()
        return death is None or death.blamed is None

    def death(self) -> Death | None:
        return read_death(self.crash_record)
