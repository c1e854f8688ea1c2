"""Prints the findings of `doctor`, one per line, faults in red."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from headrace.adapters.servers import Finding
from headrace.cli.text import one_line


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Print *findings* by subject, and a summary."""
    for subject, group in groupby(findings, key=lambda finding: finding.subject):
        for position, finding in enumerate(group):
            mark = ("✓", "green") if finding.ok else ("✗", "bold red")
            if finding.is_note:
                mark = ("·", "yellow")
            name = subject if position == 0 else ""
            line = Text.assemble(mark, f" {name:<11}", (one_line(finding.text), "" if finding.ok else "red"))
            console.print(line, soft_wrap=True)
    faults = sum(not finding.ok for finding in findings)
    if faults:
        summary = Text(f"\n{faults} fault{'s' if faults > 1 else ''} found", style="bold red")
    else:
        summary = Text("\neverything is fine", style="bold green")
    console.print(summary)
