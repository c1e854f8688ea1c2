"""A process of ours: started without a copy of this one's memory, and its end awaited beside the loop."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from headrace.workers.attempt.containment import call_in_thread


class Child:
    """Leads a process group of its own, in which everything lives that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start it; it keeps *descriptors* of ours.

        The loop's own way would fork, which takes the longer the more memory we have.

        Raises:
            OSError: it cannot be started.
        """
        process = subprocess.Popen(  # noqa: S603  (our own command lines)
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            process_group=0,
            cwd=folder,
            env=environment,
        )
        self.pid = process.pid
        self._ended = call_in_thread(f"headrace-child-{process.pid}", process.wait)

    @property
    def status(self) -> int | None:
        """As it ended; negative: by that signal. None: it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
