"""Memory that a flood has occupied goes back to the system."""

import ctypes
import gc
import resource
import weakref
from pathlib import Path

import pytest

from headrace.adapters.freed_memory import FreedMemory

_MIB = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
async def test_a_process_gives_freed_memory_back() -> None:
    # Blocks for which glibc extends the heap; the last ones keep the freed ones before them resident.
    blocks = [bytearray(60_000) for _ in range(2_000)]
    del blocks[:-10]
    grown = resident_bytes()

    await FreedMemory().trim()

    assert grown - resident_bytes() > 50 * _MIB


class Cycle:
    def __init__(self) -> None:
        self.itself = self


async def test_garbage_is_collected_when_nothing_more_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FreedMemory()
    garbage = weakref.ref(Cycle())
    found = list[bool]()

    monkeypatch.setattr(gc, "get_stats", lambda: [{}, {"collections": 1_000_000_000}, {}])
    for _ in range(2):
        await memory.trim()
        found.append(garbage() is not None)

    assert found == [True, False]
