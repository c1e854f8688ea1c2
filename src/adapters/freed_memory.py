"""Returns freed memory to the system, which glibc keeps as long as a block behind it is in use."""

import asyncio
import ctypes
from typing import Any, Final

from headrace.adapters.periodic import run_every

_PERIOD_SECONDS: Final = 30.0


class FreedMemory:
    """Trims the heap regularly: a flood of requests leaves many times the memory that is in use."""

    def __init__(self) -> None:
        # Other C libraries than glibc have no such function, and return memory by themselves.
        self._malloc_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)

    async def run(self) -> None:
        """Trim every 30 s until cancelled."""
        if self._malloc_trim is not None:
            await run_every(_PERIOD_SECONDS, self.trim, jitter=0.0)

    async def trim(self) -> int:
        """Return freed memory, in a thread: it may be many megabytes. The result counts no chore."""
        await asyncio.to_thread(self._malloc_trim, 0)
        return 0
