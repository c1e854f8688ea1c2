"""Writes the page of benchmarks from the results of `make bench`: machine, versions, medians and all runs."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from common import shown

_RESULTS: Final = Path(__file__).parent / "results"
_INTRODUCTION: Final = """# Benchmarks

`make bench` measures and writes this page. Every figure is the median of its runs; ratios are of one run of
the command. Processor time per job is steadier than a rate where others use the machine as well. The first
lines of each file in [benchmarks](../benchmarks) say what it measures.
"""


def main() -> None:
    """Write the page to the path that is the first argument."""
    results = [msgspec.json.decode(path.read_bytes()) for path in sorted(_RESULTS.glob("*.json"))]
    if not results:
        sys.exit(f"no results in {_RESULTS}: run make bench")
    Path(sys.argv[1]).write_text("\n".join([_INTRODUCTION, *map(_section, results)]))


def _section(result: dict[str, Any]) -> str:
    lines = [f"## {result['title']}", "", "| figure | median | runs |", "|---|---|---|"]
    for name, figure in result["figures"].items():
        median, runs = shown(figure)
        lines.append(f"| {name} | {median} | {runs} |")
    return "\n".join([*lines, "", f"{result['machine']}; {result['versions']}.", ""])


if __name__ == "__main__":
    main()
