"""The log file of a part, and which of its lines the user should see at once."""

import re
from pathlib import Path
from typing import IO, Final

_MOST_BYTES: Final = 10_000_000
_LONGEST: Final = 300
_LEVEL: Final = re.compile(r"\[(warning|error|critical) *\]|\"level\": ?\"(warning|error|critical)\"")
_MOMENT: Final = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")
_REFUSAL: Final = re.compile(r"^headrace(?: \w+)?: (.+)")
# What is so on purpose where the parts run on this machine alone.
_EXPECTED: Final = ("local_auth",)


def open_log(path: Path) -> IO[bytes]:
    """Open the log for appending; one that grew past 10 MB is put aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


class LogReader:
    """Reads what was added to a log since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        """The complete lines that are new."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._place:
                    self._place, self._rest = 0, b""
                file.seek(self._place)
                added = file.read()
        except FileNotFoundError:
            return []
        self._place += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def notable(line: str) -> str | None:
    """A warning or an error as it is shown, without its time; None for anything else."""
    if _LEVEL.search(line) is None or any(word in line for word in _EXPECTED):
        return None
    text = " ".join(_MOMENT.sub("", line).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def refusal(lines: list[str]) -> str | None:
    """The sentence with which a part refused to start; None when it left none."""
    said = [match[1] for line in lines if (match := _REFUSAL.match(line))]
    return said[-1] if said else None
