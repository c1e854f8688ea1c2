"""Frees the memory that a flood of requests leaves, and returns it to the system."""

import asyncio
import ctypes
import gc
from typing import Any, Final

from headrace.adapters.periodic import run_every

_PERIOD_SECONDS: Final = 30.0


class FreedMemory:
    """Trims the heap regularly: glibc keeps what is freed as long as a block behind it is in use.

    When the requests become few, it runs Python's collector, which runs only after many allocations.
    """

    def __init__(self) -> None:
        # Other C libraries than glibc have no such function, and return memory by themselves.
        self._malloc_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._collections = _young_collections()
        self._is_garbage_left = False

    async def run(self) -> None:
        """Trim every 30 s until cancelled."""
        await run_every(_PERIOD_SECONDS, self.trim, jitter=0.0)

    async def trim(self) -> int:
        """Return freed memory, in a thread: it may be many megabytes. The result counts no chore."""
        collections = _young_collections()
        if collections != self._collections:
            self._is_garbage_left = True
        elif self._is_garbage_left:
            gc.collect()
            self._is_garbage_left = False
        self._collections = collections
        if self._malloc_trim is not None:
            await asyncio.to_thread(self._malloc_trim, 0)
        return 0


def _young_collections() -> int:
    """Return how often Python has collected its middle generation."""
    return int(gc.get_stats()[1]["collections"])
