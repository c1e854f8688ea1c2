"""The length of the fault tests: short by default, full with `HEADRACE_FAULTS=full`.

`HEADRACE_FAULTS_SEED` repeats a random test; such a test prints its seed.
"""

import os
import random
from typing import Final, TypeVar

T = TypeVar("T")

IS_FULL: Final = os.environ.get("HEADRACE_FAULTS") == "full"
_SEED: Final = int(os.environ.get("HEADRACE_FAULTS_SEED", "20260117"))


def by_form(short: T, full: T) -> T:
    """Return *full* in the full form, else *short*."""
    return full if IS_FULL else short


def seeded_random() -> random.Random:
    """Return a random source with the seed of this run, and print the seed."""
    print(f"HEADRACE_FAULTS_SEED={_SEED}")  # noqa: T201
    return random.Random(_SEED)  # noqa: S311
