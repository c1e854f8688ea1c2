"""Runs `headrace` with a wrong clock: `skewed.py SECONDS ARGUMENT...`.

Only the time of day is wrong: waiting is measured by the monotonic clock, which nobody sets.
"""

import datetime
import sys
import time
from pathlib import Path
from typing import Any


def command(seconds: float) -> tuple[str, ...]:
    """What to run instead of `headrace`."""
    return (sys.executable, "-P", str(Path(__file__)), str(seconds))


def skew(seconds: float) -> None:
    """Shift what this process takes for the time of day. To be called before anything else is imported."""
    right, right_ns, real = time.time, time.time_ns, datetime.datetime
    shift = datetime.timedelta(seconds=seconds)

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real)

    class Shifted(real, metaclass=Kind):  # type: ignore[misc,valid-type]
        """Gives real datetimes: encoders in C look at the very type."""

        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            return real(*arguments, **named)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return real.now(datetime.UTC).replace(tzinfo=None) + shift

    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    offset = float(sys.argv[1])
    sys.argv = ["headrace", *sys.argv[2:]]
    skew(offset)
    from headrace.cli.main import main

    main()
