"""How long to pause before the next try: full jitter under a limit that doubles. Pure."""

import random
from collections.abc import Callable
from typing import Final

SHORTEST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 5.0
# What a service may ask for; beyond it, whoever called decides.
LONGEST_ASKED_SECONDS: Final = 60.0


class Backoff:
    """The pauses of one row of failures.

    Full jitter is https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: clients that
    failed together do not come back together.
    """

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._limit = SHORTEST_SECONDS

    def pause(self) -> float:
        """Seconds until the next try; the one after it may be twice as long."""
        limit = self._limit
        self._limit = min(limit * 2, LONGEST_SECONDS)
        return self._draw(0, limit)

    def reset(self) -> None:
        """The row is over."""
        self._limit = SHORTEST_SECONDS
