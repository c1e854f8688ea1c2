"""Measures how fast this machine is now, so that the limits of waits fit a slow one."""

import os
import time
from typing import Final

_VARIABLE: Final = "HEADRACE_TEST_SLOWNESS"
_ROUNDS: Final = 300_000
_REPETITIONS: Final = 5
_REFERENCE_SECONDS: Final = 0.02
"""What the loop below takes on the machine on which the times in docs/testing.md were measured."""
_MAX_SLOWNESS: Final = 10.0
_MINUTES: Final = 11.0
"""What the whole run takes with two such cores."""


def _measure() -> float:
    """Return the wall time of a fixed piece of work: the median, so that other programs count."""
    times = []
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        total = 0
        for number in range(_ROUNDS):
            total += number & 7
        times.append(time.perf_counter() - began)
    return sorted(times)[_REPETITIONS // 2]


def _slowness() -> float:
    """Return how many times slower than the reference this machine is, at least 1.

    The processes of a run share the number.
    """
    known = os.environ.get(_VARIABLE)
    if known is None:
        known = f"{min(max(_measure() / _REFERENCE_SECONDS, 1.0), _MAX_SLOWNESS):.2f}"
        os.environ[_VARIABLE] = known
    return float(known)


SLOWNESS: Final = _slowness()


def describe_run() -> str:
    """Return what a run of the whole suite will take on this machine."""
    cores = os.cpu_count() or 1
    minutes = _MINUTES * SLOWNESS * 2 / min(cores, 4)
    return (
        f"all tests: about {minutes:.0f} minutes on {cores} cores at 1/{SLOWNESS:g} of the reference speed."
        " Ctrl-C stops the run and its servers"
    )
