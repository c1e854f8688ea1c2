"""Formats times and durations for people. Pure."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def parse_time(text: str | None) -> datetime | None:
    """Parse a time of the API; None stays None."""
    return datetime.fromisoformat(text) if text else None


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for index, (unit, length) in enumerate(_UNITS):
        if seconds >= length:
            rest = int(seconds % length)
            next_unit, size = _UNITS[index + 1] if index + 1 < len(_UNITS) else ("s", 1)
            return f"{int(seconds // length)} {unit} {rest // size} {next_unit}"
    return f"{seconds:.1f} s"


def format_eta(low_seconds: float, high_seconds: float) -> str:
    """Return the remaining time as a range of durations."""
    low, high = (max(1, round(seconds)) for seconds in (low_seconds, high_seconds))
    if low == high:
        return f"about {_whole(low)} left"
    return f"{_whole(low)} to {_whole(high)} left"


def _whole(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else format_duration(seconds)


def format_age(when: datetime | None, now: datetime) -> str:
    """Return how long before or after *now* the time is, in one unit; empty for None."""
    if when is None:
        return ""
    seconds = (now - when).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    unit, length = next(((unit, length) for unit, length in _UNITS if abs(seconds) >= length), ("s", 1))
    count = int(abs(seconds) // length)
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


def format_span(start: datetime | None, end: datetime | None, now: datetime) -> str:
    """Return how long something took or has been running; empty if it has not started."""
    return format_duration(((end or now) - start).total_seconds()) if start else ""


def format_clock(text: str) -> str:
    """Return the local time of day of an API time."""
    when = parse_time(text) or datetime.now(UTC)
    return when.astimezone().strftime("%H:%M:%S")
