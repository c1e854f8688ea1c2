"""How many bad inputs: few by default, `HEADRACE_FUZZ=full` for all of them.

`HEADRACE_FUZZ_SEED=n` repeats a run of the full form; the short one is always the same.
"""

import os
import random
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, seed, settings

IS_FULL: Final = os.environ.get("HEADRACE_FUZZ") == "full"
SEED: Final = int(
    os.environ.get("HEADRACE_FUZZ_SEED") or (random.SystemRandom().randrange(2**31) if IS_FULL else 7)
)

# How many inputs each fuzzer of this process has sent.
sent: dict[str, int] = {}


def count(kind: str, inputs: int = 1) -> None:
    """So many inputs of that kind were sent."""
    sent[kind] = sent.get(kind, 0) + inputs


# What hypothesis makes of a test.
Test = Callable[..., None]


def examples(short: int, full: int) -> Callable[[Test], Test]:
    """A decorator: that many examples, always the same ones for a seed, each as slow as it is."""
    profile = settings(
        max_examples=full if IS_FULL else short,
        deadline=None,
        database=None,
        # The service stands for all examples: what one leaves behind is what the next one meets.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )

    def decorate(test: Test) -> Test:
        return seed(SEED)(profile(test))

    return decorate
