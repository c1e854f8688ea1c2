"""Runs each job that was lost twice in a worker process of its own, so that it can harm no other job."""

import asyncio
import os
from signal import SIGKILL, SIGTERM
from typing import Final

import structlog

from headrace.adapters.periodic import run_every
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.settings import Settings
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.child.process import Child
from headrace.workers.fresh_python import fresh_python

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 1.0
_KILL_SECONDS: Final = 10


class Quarantine:
    """Starts the worker process for such jobs, one at a time. A suspect is a job that was lost twice."""

    def __init__(self, job_queue: JobQueue, settings: Settings) -> None:
        self._job_queue = job_queue
        self._settings = settings
        self._stopping = StopSignal()
        self._process: Child | None = None

    async def run(self) -> None:
        """Look for a due suspect every second, until cancelled."""
        await run_every(_PERIOD_SECONDS, self.run_one)

    async def run_one(self) -> int:
        """Run one due suspect to its end, if there is one; return how many were run."""
        if self._stopping.is_set or not await self._job_queue.has_due_suspect():
            return 0
        try:
            self._process = self._start()
        except OSError as error:
            _log.error("cannot_run_alone", error=str(error))
            return 0
        status = await self._process.wait()
        _log.warning("ran_alone", status=status)
        return 1

    def stop(self) -> None:
        """Start no more processes, and have the running one hand its job back."""
        self._stopping.set()
        if self._process is not None and self._process.status is None:
            self._process.signal(SIGTERM)

    async def wait_stopped(self) -> None:
        """Wait until the process has ended; kill it 10 s after its grace time."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(self._settings.grace_seconds + _KILL_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.signal(SIGKILL)

    def _start(self) -> Child:
        """Start a worker that claims one suspect and ends with it."""
        queues = self._job_queue.worker.queues
        options = [option for queue in queues for option in ("--queue", queue)]
        return Child(
            fresh_python("headrace.cli.main", "worker", "--alone", "--suspect", *options),
            environment=os.environ | self._settings.environment(),
        )
