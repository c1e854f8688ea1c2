"""`watch` on a screen: live bars in a terminal, plain lines elsewhere, frames for programs."""

import sys
from collections.abc import Mapping
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from headrace.cli.job_view import JobViewModel, LogLine
from headrace.cli.job_watch import ReceivedFrame
from headrace.cli.live_renderer import LiveRenderer, said

_PLAIN_STEP: Final = 0.1


class WatchScreen(Protocol):
    """Where a watched job is shown."""

    def show(self, frame: ReceivedFrame) -> None: ...
    def tell(self, away: str | None) -> None: ...


class JsonScreen:
    """One frame a line, as it was sent; nothing else."""

    def show(self, frame: ReceivedFrame) -> None:
        sys.stdout.buffer.write(frame.raw + b"\n")
        sys.stdout.buffer.flush()

    def tell(self, away: str | None) -> None:
        """A program sees by the next `hello` that there was a pause."""


class PlainScreen:
    """A line for each thing that happens, and one for each tenth of the way."""

    def __init__(self, picture: JobViewModel, console: Console) -> None:
        self._picture = picture
        self._console = console
        self._shown = 0.0

    def show(self, frame: ReceivedFrame) -> None:
        lines = self._picture.apply(frame.body)
        if frame.kind in ("step.started", "step.succeeded", "job.started"):
            step = frame.body.get("step")
            index = frame.body.get("index")
            where = f"{step}[{index}] " if index is not None else f"{step} " if step else "job "
            lines = lines or [LogLine("note", where + frame.kind.partition(".")[2], frame.body["at"])]
        for line in lines:
            self._print(said(line))
        if frame.kind == "progress" and self._picture.fraction >= self._shown + _PLAIN_STEP:
            self._shown = self._picture.fraction
            self._print(said(LogLine("note", f"{self._shown:.0%} done")))

    def tell(self, away: str | None) -> None:
        print(f"headrace: {away or 'connected again'}", file=sys.stderr, flush=True)  # noqa: T201

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class LiveScreen:
    """Bars that move, with logs and files above them."""

    def __init__(self, picture: JobViewModel, console: Console, labels: Mapping[str, str]) -> None:
        self._picture = picture
        self._drawing = LiveRenderer(picture, console, labels)
        self._live = Live(self._drawing, console=console, refresh_per_second=12, transient=False)

    def __enter__(self) -> "LiveScreen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, frame: ReceivedFrame) -> None:
        for line in self._picture.apply(frame.body):
            self._live.console.print(said(line))

    def tell(self, away: str | None) -> None:
        self._drawing.away = away
