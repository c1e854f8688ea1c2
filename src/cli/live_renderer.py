"""Renders a watched job in a terminal: a progress bar for the job and one for each of its steps."""

from collections.abc import Mapping
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from headrace.cli.job_view import JobViewModel, LogLine
from headrace.cli.step_lines import StepLine
from headrace.cli.text import one_line
from headrace.cli.times import format_clock, format_duration, format_eta

STATE_STYLES: Final = {
    "queued": "yellow",
    "waiting": "dim",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "skipped": "dim",
}
_MARKS: Final = {"waiting": "·", "succeeded": "✓", "failed": "✗"}
_LEVELS: Final = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}
_MAX_BAR_WIDTH: Final = 36
_MAX_NAME_WIDTH: Final = 24


class LiveRenderer:
    """Renders the current state of a view. *labels* map step keys to names for the user."""

    def __init__(self, view: JobViewModel, console: Console, labels: Mapping[str, str]) -> None:
        self.connection_error: str | None = None
        self._view = view
        self._console = console
        self._labels = labels
        self._spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> RenderableType:
        view = self._view
        max_lines = max(self._console.height - 5, 5)
        steps = visible_steps(list(view.steps.values()), max_lines)
        hidden = len(view.steps) - len(steps)
        bar_width = max(10, min(_MAX_BAR_WIDTH, self._console.width - 48))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True, max_width=_MAX_NAME_WIDTH)
        grid.add_column(width=bar_width)
        grid.add_column(justify="right", no_wrap=True, min_width=7)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        percent = Text(f"{view.fraction:.0%}", style="bold")
        eta = Text(format_eta(*view.eta) if view.eta else "", style="dim")
        grid.add_row("", "", _bar(view.fraction, bar_width, view.state), percent, eta)
        for step in steps:
            grid.add_row(*self._row(step, bar_width))
        footer = [Text(f"  and {hidden} more that are waiting or done", style="dim")] if hidden else []
        return Group(self._title(), grid, *footer, *self._notice())

    def _title(self) -> Text:
        view = self._view
        state = Text(view.state, style=f"bold {STATE_STYLES.get(view.state, '')}")
        if view.state == "queued" and view.waiting_for:
            state.append(f" ({view.waiting_for.replace('_', ' ')})", style="dim")
        if view.attempt > 1:
            state.append(f" attempt {view.attempt}", style="dim")
        return Text.assemble((view.pipeline or "job", "bold"), " ", (view.job_id, "dim"), " ", state)

    def _name(self, step: StepLine) -> str:
        return self._labels.get(step.key, step.key)

    def _row(self, step: StepLine, bar_width: int) -> tuple[RenderableType, ...]:
        style = STATE_STYLES[step.state]
        mark: RenderableType = (
            self._spinner if step.state == "running" else Text(_MARKS[step.state], style=style)
        )
        name = Text(self._name(step), style="dim" if step.state == "waiting" else "")
        if step.state == "succeeded":
            figure = "" if step.took_ms is None else format_duration(step.took_ms / 1000)
        else:
            figure = f"{step.fraction:.0%}" if step.state == "running" else ""
        bar: RenderableType = "" if step.state == "waiting" else _bar(step.fraction, bar_width, step.state)
        message = Text(step.message, style="red" if step.state == "failed" else "dim")
        return mark, name, bar, Text(figure, style="dim"), message

    def _notice(self) -> list[RenderableType]:
        return (
            [Text(f"{one_line(self.connection_error)}; reconnecting ...", style="yellow")]
            if self.connection_error
            else []
        )


def visible_steps(steps: list[StepLine], max_lines: int) -> list[StepLine]:
    """Return at most *max_lines* steps: running and failed ones first, then waiting ones, then done ones."""
    if len(steps) <= max_lines:
        return steps
    rank = {"running": 0, "failed": 0, "waiting": 1, "succeeded": 2}
    ranked = sorted(range(len(steps)), key=lambda index: (rank[steps[index].state], index))
    return [steps[index] for index in sorted(ranked[:max_lines])]


def render_line(line: LogLine) -> Text:
    """Render a log line, a file or a note, with its time."""
    style = _LEVELS.get(line.level, "") if line.kind == "log" else {"trouble": "red"}.get(line.kind, "")
    symbol = {"log": " ", "file": "+", "note": "→", "trouble": "!"}[line.kind]
    return Text.assemble((format_clock(line.at), "dim"), f" {symbol} ", (line.text, style))


def _bar(fraction: float, width: int, state: str) -> ProgressBar:
    style = STATE_STYLES.get(state, "cyan")
    return ProgressBar(
        total=1.0, completed=fraction, width=width, complete_style=style, finished_style=style, style="grey23"
    )
