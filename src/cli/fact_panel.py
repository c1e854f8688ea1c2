"""Prints a few named facts: a panel in a terminal, one line per fact elsewhere."""

from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


def show_facts(
    console: Console, title: str, facts: Sequence[tuple[str, Text]], subtitle: str | None = None
) -> None:
    """Print *title* and below it each name with its value. An empty name continues the fact above it."""
    if not console.is_terminal:
        # Programs read this output line by line, so nothing is wrapped.
        console.print(Text(title), soft_wrap=True)
        for name, value in facts:
            console.print(Text(f"{name:<10} {value.plain}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, value)
    console.print(
        Panel(
            grid,
            title=Text(title, style="bold"),
            subtitle=Text(subtitle, style="dim") if subtitle else None,
            border_style="green",
            padding=(1, 2),
            expand=False,
        )
    )
