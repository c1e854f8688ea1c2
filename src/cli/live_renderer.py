"""A watched job in a terminal: a bar for the job and one for each of its steps."""

from collections.abc import Mapping
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from headrace.cli.job_view import JobViewModel, LogLine, StepLine
from headrace.cli.times import clock, left, took

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
_WIDEST_BAR: Final = 36
_WIDEST_NAME: Final = 24


class LiveRenderer:
    """Draws a picture again and again; *labels* give step keys the names that the reader knows."""

    def __init__(self, picture: JobViewModel, console: Console, labels: Mapping[str, str]) -> None:
        self.away: str | None = None
        self._picture = picture
        self._console = console
        self._labels = labels
        self._spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> RenderableType:
        picture = self._picture
        room = max(self._console.height - 5, 5)
        steps = visible(list(picture.steps.values()), room)
        hidden = len(picture.steps) - len(steps)
        bar_width = max(10, min(_WIDEST_BAR, self._console.width - 48))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True, max_width=_WIDEST_NAME)
        grid.add_column(width=bar_width)
        grid.add_column(justify="right", no_wrap=True, min_width=7)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        percent = Text(f"{picture.fraction:.0%}", style="bold")
        rest_of_it = Text(left(*picture.eta) if picture.eta else "", style="dim")
        grid.add_row("", "", _bar(picture.fraction, bar_width, picture.state), percent, rest_of_it)
        for step in steps:
            grid.add_row(*self._row(step, bar_width))
        rest = [Text(f"  and {hidden} more that are done or wait", style="dim")] if hidden else []
        return Group(self._title(), grid, *rest, *self._notice())

    def _title(self) -> Text:
        picture = self._picture
        state = Text(picture.state, style=f"bold {STATE_STYLES.get(picture.state, '')}")
        if picture.state == "queued" and picture.waiting_for:
            state.append(f" ({picture.waiting_for.replace('_', ' ')})", style="dim")
        if picture.attempt > 1:
            state.append(f" attempt {picture.attempt}", style="dim")
        return Text.assemble((picture.pipeline or "job", "bold"), " ", (picture.job_id, "dim"), " ", state)

    def _name(self, step: StepLine) -> str:
        return self._labels.get(step.key, step.key)

    def _row(self, step: StepLine, bar_width: int) -> tuple[RenderableType, ...]:
        style = STATE_STYLES[step.state]
        mark: RenderableType = (
            self._spinner if step.state == "running" else Text(_MARKS[step.state], style=style)
        )
        name = Text(self._name(step), style="dim" if step.state == "waiting" else "")
        if step.state == "succeeded":
            number = "" if step.took_ms is None else took(step.took_ms / 1000)
        else:
            number = f"{step.fraction:.0%}" if step.state == "running" else ""
        bar: RenderableType = "" if step.state == "waiting" else _bar(step.fraction, bar_width, step.state)
        message = Text(" ".join(step.message.split()), style="red" if step.state == "failed" else "dim")
        return mark, name, bar, Text(number, style="dim"), message

    def _notice(self) -> list[RenderableType]:
        return [Text(f"{self.away}; trying again ...", style="yellow")] if self.away else []


def visible(steps: list[StepLine], room: int) -> list[StepLine]:
    """The steps that fit into *room* lines: those that run or failed before those that wait or are done."""
    if len(steps) <= room:
        return steps
    order = {"running": 0, "failed": 0, "waiting": 1, "succeeded": 2}
    ranked = sorted(range(len(steps)), key=lambda place: (order[steps[place].state], place))
    return [steps[place] for place in sorted(ranked[:room])]


def said(line: LogLine) -> Text:
    """One line above the bars, or between plain ones."""
    style = _LEVELS.get(line.level, "") if line.kind == "log" else {"trouble": "red"}.get(line.kind, "")
    sign = {"log": " ", "file": "+", "note": "→", "trouble": "!"}[line.kind]
    return Text.assemble((clock(line.at), "dim"), f" {sign} ", (line.text, style))


def _bar(fraction: float, width: int, state: str) -> ProgressBar:
    style = STATE_STYLES.get(state, "cyan")
    return ProgressBar(
        total=1.0, completed=fraction, width=width, complete_style=style, finished_style=style, style="grey23"
    )
