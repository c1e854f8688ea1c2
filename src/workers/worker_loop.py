"""The event loop of a worker, which outlives what the code of a job does to end it."""

import asyncio
from typing import Any

import structlog

from headrace.adapters.event_loop import ServiceLoop
from headrace.workers.attribution import attribute_tasks

_log = structlog.get_logger(__name__)


class WorkerLoop(ServiceLoop):
    """An event loop that stops only when the task for which it runs is done.

    A step may call `stop`, or schedule a callback that raises `SystemExit` or `KeyboardInterrupt`. Other
    callbacks and tasks go on after that.
    """

    def run_until_complete(self, future: Any) -> Any:
        main: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        while not main.done():
            try:
                super().run_until_complete(main)
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                # The loop raises RuntimeError if it was stopped before the task was done.
                if not main.done():
                    _log.error("loop_left", error=repr(error))
        return main.result()


def new_worker_loop() -> WorkerLoop:
    """Return a new loop that attributes tasks to attempts, from the first task on."""
    loop = WorkerLoop()
    attribute_tasks(loop)
    return loop
