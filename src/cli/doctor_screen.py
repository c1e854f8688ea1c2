"""The findings of `doctor`, one line each, what is wrong in red."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from headrace.adapters.servers import Finding


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Print *findings* by subject, and a last word."""
    for subject, group in groupby(findings, key=lambda finding: finding.subject):
        for place, finding in enumerate(group):
            mark = ("✓", "green") if finding.ok else ("✗", "bold red")
            name = subject if place == 0 else ""
            line = Text.assemble(mark, f" {name:<11}", (finding.text, "" if finding.ok else "red"))
            console.print(line, soft_wrap=True)
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        told = Text(f"\n{wrong} thing{'s are' if wrong > 1 else ' is'} wrong", style="bold red")
    else:
        told = Text("\neverything is fine", style="bold green")
    console.print(told)
