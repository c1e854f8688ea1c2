"""The pause before the next try: full jitter below a limit that doubles. Pure."""

import random
from collections.abc import Callable
from typing import Final

MIN_SECONDS: Final = 0.2
MAX_SECONDS: Final = 5.0
# The longest pause that a service may request; beyond it the caller decides.
MAX_REQUESTED_SECONDS: Final = 60.0


class Backoff:
    """The pauses between consecutive failures.

    Full jitter is https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: clients that
    fail together do not return together.
    """

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._limit = MIN_SECONDS

    def pause(self) -> float:
        """Return the seconds until the next try, and double the limit of the following one."""
        limit = self._limit
        self._limit = min(limit * 2, MAX_SECONDS)
        return self._draw(0, limit)

    def reset(self) -> None:
        """Start again with the shortest limit, after a success."""
        self._limit = MIN_SECONDS
