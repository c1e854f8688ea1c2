"""The outputs of `watch`: live bars in a terminal, plain lines elsewhere, JSON frames for programs."""

import sys
from collections.abc import Mapping
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from headrace.cli.job_view import JobViewModel, LogLine
from headrace.cli.job_watch import ReceivedFrame
from headrace.cli.live_renderer import LiveRenderer, render_line
from headrace.cli.output import report_connection

_PROGRESS_STEP: Final = 0.1


class WatchScreen(Protocol):
    """An output for the frames of a watched job."""

    def show(self, frame: ReceivedFrame) -> None: ...
    def show_waiting(self) -> None:
        """Show that the reason has changed why the job waits."""

    def show_connection(self, error: str | None) -> None:
        """Show that the connection is lost, or, with None, that it is back."""


class JsonScreen:
    """Prints each frame as it was sent, one per line."""

    def show(self, frame: ReceivedFrame) -> None:
        sys.stdout.buffer.write(frame.raw + b"\n")
        sys.stdout.buffer.flush()

    def show_waiting(self) -> None:
        """Print nothing: it is no frame."""

    def show_connection(self, error: str | None) -> None:
        """Print nothing: a program sees the pause by the next `hello`."""


class PlainScreen:
    """Prints a line for each event, for each tenth of the progress, and for each reason to wait."""

    def __init__(self, view: JobViewModel, console: Console, after: int = 0) -> None:
        """*after* is the number of the event after which the watch starts."""
        self._view = view
        self._console = console
        self._seq = self._head = after
        self._shown = 0.0
        self._pending: float | None = None
        self._reason: str | None = None

    def show(self, frame: ReceivedFrame) -> None:
        lines = self._view.apply(frame.body)
        if frame.kind in ("step.started", "step.succeeded", "job.started"):
            step = frame.body.get("step")
            index = frame.body.get("index")
            subject = f"{step}[{index}] " if index is not None else f"{step} " if step else "job "
            lines = lines or [LogLine("note", subject + frame.kind.partition(".")[2], frame.body["at"])]
        for line in lines:
            self._print(render_line(line))
        self._seq = frame.body.get("seq", self._seq)
        if frame.kind == "hello":
            self._head = frame.body["head"]
        elif frame.kind == "progress":
            self._pending = frame.body["fraction"]
        self._show_progress()
        self.show_waiting()

    def show_waiting(self) -> None:
        """Print why the job waits, if that is news."""
        reason = self._view.waiting_text
        if reason is not None and reason != self._reason:
            self._print(render_line(LogLine("note", reason)))
        self._reason = reason

    def _show_progress(self) -> None:
        """Print the newest progress, once the events were printed that are older than the connection."""
        if self._pending is None or self._seq < self._head:
            return
        fraction, self._pending = self._pending, None
        if fraction >= self._shown + _PROGRESS_STEP:
            self._shown = fraction
            self._print(render_line(LogLine("note", f"{fraction:.0%} done")))

    def show_connection(self, error: str | None) -> None:
        report_connection(error)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class LiveScreen:
    """Shows moving bars, with logs and files above them."""

    def __init__(self, view: JobViewModel, console: Console, labels: Mapping[str, str]) -> None:
        self._view = view
        self._renderer = LiveRenderer(view, console, labels)
        self._live = Live(self._renderer, console=console, refresh_per_second=12, transient=False)

    def __enter__(self) -> "LiveScreen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, frame: ReceivedFrame) -> None:
        for line in self._view.apply(frame.body):
            self._live.console.print(render_line(line))

    def show_waiting(self) -> None:
        """Print nothing: the title has the reason."""

    def show_connection(self, error: str | None) -> None:
        self._renderer.connection_error = error
