"""Reads the log file of a process, and picks the lines that the user should see at once."""

import re
from pathlib import Path
from typing import Final

_MAX_CHARS: Final = 300
_LEVEL: Final = re.compile(r"\[(warning|error|critical) *\]|\"level\": ?\"(warning|error|critical)\"")
_TIMESTAMP: Final = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")
_REFUSAL: Final = re.compile(r"^headrace(?: \w+)?: (.+)")
# Warnings that are expected when all processes run on this machine.
_EXPECTED: Final = ("local_auth",)


class LogReader:
    """Reads the lines that were added to a log since the last call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Return the complete lines that are new. A log that was rotated is read from its start."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def notable(line: str) -> str | None:
    """Return a warning or an error without its timestamp; None for any other line."""
    if _LEVEL.search(line) is None or any(word in line for word in _EXPECTED):
        return None
    text = " ".join(_TIMESTAMP.sub("", line).split())
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def find_refusal(lines: list[str]) -> str | None:
    """Return the line with which a process refused to start; None if its log has none."""
    refusals = [match[1] for line in lines if (match := _REFUSAL.match(line))]
    return refusals[-1] if refusals else None
