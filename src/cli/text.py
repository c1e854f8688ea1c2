"""Makes text of others safe to print on one line of a terminal, and sizes readable. Pure."""

import re
from typing import Final

# Control characters end lines and drive terminals, those of right-to-left text reorder their neighbours, and
# others cannot be seen. Those that join letters and emojis are left.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


def one_line(text: str) -> str:
    """Return *text* as one line, in which control characters are escapes such as `\\n` and `\\x1b`.

    Log messages, errors and names may hold any character, and must not drive the user's terminal.
    """
    return _UNSAFE.sub(_escape, text.rstrip().replace("\t", " "))


def safe_lines(text: str) -> str:
    """Return *text* with its lines, each as `one_line` has it."""
    return "\n".join(map(one_line, text.split("\n")))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def format_size(count: int) -> str:
    """Return a number of bytes in the unit that fits."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
