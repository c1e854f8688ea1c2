"""Makes untrusted text safe for a terminal, and sizes readable. Pure."""

from typing import Final

_CONTROL: Final = dict.fromkeys([*range(32), *range(127, 160)], "�") | {ord("\t"): " ", ord("\n"): "\n"}


def sanitize(text: str) -> str:
    """Replace the control characters of *text*: a job's log must not control the user's terminal."""
    return text.translate(_CONTROL)


def format_size(count: int) -> str:
    """Return a number of bytes in the unit that fits."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
