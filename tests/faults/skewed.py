"""Runs `headrace` with a wrong clock: `skewed.py SECONDS ARGUMENT...`.

Only the time of day is wrong: waiting uses the monotonic clock, which cannot be set.
"""

import datetime
import sys
import time
from pathlib import Path
from typing import Any


def command(seconds: float) -> tuple[str, ...]:
    """Return the command to run instead of `headrace`."""
    return (sys.executable, "-P", str(Path(__file__)), str(seconds))


def skew(seconds: float) -> None:
    """Shift the time of day of this process. Call it before other modules are imported."""
    real_time, real_time_ns, real_datetime = time.time, time.time_ns, datetime.datetime
    shift = datetime.timedelta(seconds=seconds)

    class InstanceCheck(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real_datetime)

    class Shifted(real_datetime, metaclass=InstanceCheck):  # type: ignore[misc,valid-type]
        """Creates real datetimes, because encoders in C compare the exact type."""

        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            return real_datetime(*arguments, **named)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real_datetime.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return real_datetime.now(datetime.UTC).replace(tzinfo=None) + shift

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    offset = float(sys.argv[1])
    sys.argv = ["headrace", *sys.argv[2:]]
    skew(offset)
    from headrace.cli.main import main

    main()
