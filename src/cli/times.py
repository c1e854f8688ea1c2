"""Moments and durations as people read them. Pure."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def moment(text: str | None) -> datetime | None:
    """The API's form of a time; None stays None."""
    return datetime.fromisoformat(text) if text else None


def took(seconds: float) -> str:
    """A duration in its two largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for place, (unit, length) in enumerate(_UNITS):
        if seconds >= length:
            rest = int(seconds % length)
            below, size = _UNITS[place + 1] if place + 1 < len(_UNITS) else ("s", 1)
            return f"{int(seconds // length)} {unit} {rest // size} {below}"
    return f"{seconds:.1f} s"


def left(low_seconds: float, high_seconds: float) -> str:
    """How long something still takes, between the two."""
    soon, late = (max(1, round(seconds)) for seconds in (low_seconds, high_seconds))
    if soon == late:
        return f"about {_whole(soon)} left"
    return f"{_whole(soon)} to {_whole(late)} left"


def _whole(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else took(seconds)


def ago(when: datetime | None, now: datetime) -> str:
    """How long before (or after) *now* that is, in one unit; empty for None."""
    if when is None:
        return ""
    seconds = (now - when).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    unit, length = next(((unit, length) for unit, length in _UNITS if abs(seconds) >= length), ("s", 1))
    count = int(abs(seconds) // length)
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


def between(start: datetime | None, end: datetime | None, now: datetime) -> str:
    """How long something took, or has been going on; empty where it has not begun."""
    return took(((end or now) - start).total_seconds()) if start else ""


def clock(text: str) -> str:
    """The local time of day of an API time."""
    when = moment(text) or datetime.now(UTC)
    return when.astimezone().strftime("%H:%M:%S")
