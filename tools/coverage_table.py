"""What the tests cover of some folders: `coverage_table.py REPORT FOLDER...`; REPORT is from `coverage json`.

A line for each folder, and above it one for each of its files below 90 %. `lines` and `branches` are the
shares that ran, `both` is coverage.py's own figure, which counts the two together.
"""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

_LISTED_BELOW: Final = 90.0


class Share(Struct, frozen=True):
    """How many lines and branches there are, and how many of them ran."""

    lines: int = 0
    lines_ran: int = 0
    branches: int = 0
    branches_ran: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(
            self.lines + other.lines,
            self.lines_ran + other.lines_ran,
            self.branches + other.branches,
            self.branches_ran + other.branches_ran,
        )

    @property
    def both(self) -> float:
        return _percent(self.lines_ran + self.branches_ran, self.lines + self.branches)

    def row(self, name: str) -> str:
        lines = _percent(self.lines_ran, self.lines)
        return f"{name:<44}{lines:>8.1f}{_percent(self.branches_ran, self.branches):>10.1f}{self.both:>8.1f}"


def table(files: dict[str, dict[str, Any]], folders: list[str]) -> list[str]:
    """The lines to print. *files*: the summary of each file, by path.

    Raises:
        ValueError: a folder has no file in the report.
    """
    printed = [f"{'covered, in %':<44}{'lines':>8}{'branches':>10}{'both':>8}"]
    for folder in folders:
        shares = {
            path: share_of(summary)
            for path, summary in sorted(files.items())
            if path.startswith(f"{folder}/")
        }
        if not shares:
            raise ValueError(f"the report has no file of {folder}")
        printed += [share.row(f"  {path}") for path, share in shares.items() if share.both < _LISTED_BELOW]
        printed.append(sum(shares.values(), Share()).row(folder))
    return printed


def share_of(summary: dict[str, Any]) -> Share:
    """What coverage.py sums up of a file."""
    return Share(
        summary["num_statements"],
        summary["covered_lines"],
        summary["num_branches"],
        summary["covered_branches"],
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


if __name__ == "__main__":
    files = msgspec.json.decode(Path(sys.argv[1]).read_bytes())["files"]
    print("\n".join(table({path: file["summary"] for path, file in files.items()}, sys.argv[2:])))
