"""How long and how hard the faults are: short by default, `HEADRACE_FAULTS=full` for every one at its length.

`HEADRACE_FAULTS_SEED` repeats the random ones; a test that throws dice prints its seed.
"""

import os
import random
from typing import Final, TypeVar

T = TypeVar("T")

IS_FULL: Final = os.environ.get("HEADRACE_FAULTS") == "full"
_SEED: Final = int(os.environ.get("HEADRACE_FAULTS_SEED", "20260117"))


def by_form(short: T, full: T) -> T:
    """*full* in the full form, else *short*."""
    return full if IS_FULL else short


def seeded_dice() -> random.Random:
    """Dice that fall in the same way for the same seed, which is printed."""
    print(f"HEADRACE_FAULTS_SEED={_SEED}")  # noqa: T201
    return random.Random(_SEED)  # noqa: S311
