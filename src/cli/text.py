"""Words of others made harmless, and numbers made readable. Pure."""

from typing import Final

_NEVER: Final = dict.fromkeys([*range(32), *range(127, 160)], "�") | {ord("\t"): " ", ord("\n"): "\n"}


def plain(text: str) -> str:
    """*text* without what a terminal would obey: a job's log must not move the reader's cursor."""
    return text.translate(_NEVER)


def size_of(count: int) -> str:
    """A number of bytes as people read it."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
