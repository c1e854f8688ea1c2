"""Jobs that were lost twice run in a worker process of their own: what they do to it hits nobody else."""

import asyncio
import os
import random
from signal import SIGKILL, SIGTERM
from typing import Final

import structlog

from headrace.domain.database import TRANSIENT
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.settings import Settings
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.child.process import Child
from headrace.workers.fresh_python import fresh_python

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 1.0


class Quarantine:
    """Looks for such jobs and runs one at a time. `run` is its one task."""

    def __init__(self, execution: JobQueue, settings: Settings) -> None:
        self._execution = execution
        self._settings = settings
        self._stopping = StopSignal()
        self._process: Child | None = None

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
            try:
                if self._stopping.is_set or not await self._execution.has_due_suspect():
                    continue
                self._process = self._start()
            except TRANSIENT:
                continue
            except OSError as error:
                _log.error("cannot_run_alone", error=str(error))
                continue
            status = await self._process.wait()
            _log.warning("ran_alone", status=status)

    def stop(self) -> None:
        """Start no more, and tell the process that runs to hand its job back."""
        self._stopping.set()
        if self._process is not None and self._process.status is None:
            self._process.signal(SIGTERM)

    async def ended(self) -> None:
        """Wait until the process is gone: by itself in its grace time, else by force."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(self._settings.grace_seconds + 10):
                await self._process.wait()
        except TimeoutError:
            self._process.signal(SIGKILL)

    def _start(self) -> Child:
        """A worker that claims one such job and ends with it."""
        queues = self._execution.worker.queues
        options = [option for queue in queues for option in ("--queue", queue)]
        return Child(
            fresh_python("headrace.cli.main", "worker", "--alone", "--suspect", *options),
            environment=os.environ | self._settings.environment(),
        )
