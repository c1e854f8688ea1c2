"""The number of bad inputs: few by default, all with `HEADRACE_FUZZ=full`.

`make check` sets `HEADRACE_FUZZ=check`, which searches longer for inputs that hold the loop.

`HEADRACE_FUZZ_SEED=n` repeats a run of the full form; the short form is always the same.
"""

import os
import random
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, seed, settings

FORM: Final = os.environ.get("HEADRACE_FUZZ", "short")
IS_FULL: Final = FORM == "full"
SEED: Final = int(
    os.environ.get("HEADRACE_FUZZ_SEED") or (random.SystemRandom().randrange(2**31) if IS_FULL else 7)
)

# The longest time that an input held the loop, in seconds, and that input.
costs: list[tuple[float, str]] = []

# The number of inputs that each fuzzer of this process has sent.
sent: dict[str, int] = {}


def count(kind: str, inputs: int = 1) -> None:
    """Count inputs of a kind that were sent."""
    sent[kind] = sent.get(kind, 0) + inputs


# The type of a test that hypothesis has wrapped.
Test = Callable[..., None]


def examples(short: int, full: int) -> Callable[[Test], Test]:
    """Return a decorator that sets the number of examples, the seed, and no deadline."""
    profile = settings(
        max_examples=full if IS_FULL else short,
        deadline=None,
        database=None,
        # All examples share a service, so each example meets the rows of the earlier ones.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )

    def decorate(test: Test) -> Test:
        return seed(SEED)(profile(test))

    return decorate
