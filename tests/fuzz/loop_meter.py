"""Measures how long the event loop is held at a stretch, in processor time of its thread.

Other processes of the machine do not count. The limit follows the speed of the machine at that moment.
"""

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

MAX_HOLD_SECONDS: Final = 0.02
"""The service promises to hold the loop no longer, on a machine as fast as the reference."""

_TOLERANCE: Final = 3.0
_REPETITIONS: Final = 4
_ORDINARY: Final = msgspec.json.encode(
    [{"name": f"part {index}", "values": [index, 1.5, None], "is_on": True} for index in range(4_000)]
)
# What decoding `_ORDINARY` takes on the reference, in seconds.
_REFERENCE_SECONDS: Final = 0.002

# More than any search has examples.
_MAX_EXAMPLES: Final = 32


class LoopMeter:
    """The longest stretch since the last reset, and the longest of the whole run."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.dearest: tuple[float, str] = (0.0, "nothing")
        self.has_failed = False

    @contextmanager
    def installed(self) -> Iterator["LoopMeter"]:
        """Measure every callback of the loop of this thread. Other threads do not hold it."""
        run, thread = asyncio.Handle._run, threading.get_ident()

        def measured(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            try:
                run(handle)
            finally:
                if threading.get_ident() == thread:
                    self.longest = max(self.longest, time.thread_time() - began)

        asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]
        try:
            yield self
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]

    async def hold(self, name: str, work: Callable[[int], Awaitable[Any]]) -> float:
        """Return the longest stretch of *work* in seconds of the reference, the least of some repetitions.

        *work* gets the number of the repetition, so that it can send what no cache has.
        """
        least = float("inf")
        for repetition in range(_REPETITIONS):
            self.longest = 0.0
            await work(repetition)
            await asyncio.sleep(0)
            least = min(least, self.longest / slowness())
            if least < MAX_HOLD_SECONDS / 2:
                break
        self.dearest = max(self.dearest, (least, name))
        return least

    async def check(self, name: str, work: Callable[[int], Awaitable[Any]]) -> float:
        """Fail if *work* holds the loop for much longer than promised; return for how long it did."""
        least = await self.hold(name, work)
        self.has_failed |= least >= MAX_HOLD_SECONDS * _TOLERANCE
        assert least < MAX_HOLD_SECONDS * _TOLERANCE, f"{name} holds the loop for {least * 1000:.0f} ms"
        return least


class SearchEnded(BaseException):
    """The time of a search is over. Hypothesis passes it on; of an `Exception` it would make a failure.

    If a test just returned, hypothesis would go on for hours: its hill climbing is only bounded by the number
    of better inputs, and a long body has thousands of places to change.
    """


class Budget:
    """The time of one search."""

    def __init__(self, seconds: float, meter: LoopMeter, examples: int = _MAX_EXAMPLES) -> None:
        self._ends_at = time.monotonic() + seconds
        self._examples = examples
        self._inputs = 0
        self._meter = meter
        meter.has_failed = False

    def spend(self) -> None:
        """Count an input. The first ones are the examples; a failure is repeated, however long it takes.

        Raises:
            SearchEnded: the time is over.
        """
        self._inputs += 1
        is_late = self._inputs > self._examples and time.monotonic() > self._ends_at
        if is_late and not self._meter.has_failed:
            raise SearchEnded


def slowness() -> float:
    """Return how many times slower than the reference this machine decodes an ordinary body now."""
    return max(1.0, statistics.median(_decode_ordinary() for _ in range(3)) / _REFERENCE_SECONDS)


def _decode_ordinary() -> float:
    began = time.thread_time()
    msgspec.json.decode(_ORDINARY)
    return time.thread_time() - began
