"""Jobs that were lost twice run in a worker process of their own: what they do to it hits nobody else."""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Final

import structlog

from domain.database import TRANSIENT
from domain.jobs.execution import Execution
from settings import Settings

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 1.0
_SOURCE: Final = Path(__file__).parents[1]
_START: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cli.main import main; main()"


async def isolate(execution: Execution, settings: Settings) -> None:
    """Look once a second for such a job and run one at a time, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
        try:
            is_due = await execution.suspect_is_due()
        except TRANSIENT:
            continue
        if is_due:
            status = await _run_one(execution.worker.queues, settings)
            _log.warning("ran_alone", status=status)


async def _run_one(queues: tuple[str, ...], settings: Settings) -> int:
    """A worker that claims one such job and ends with it; cancelled, it hands the job back."""
    options = [option for queue in queues for option in ("--queue", queue)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        _START,
        str(_SOURCE),
        "worker",
        "--alone",
        "--suspect",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        process_group=0,
        env=os.environ | settings.environment(),
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(settings.grace_seconds * 2 + 20):
                    await process.wait()
            except TimeoutError:
                process.kill()
