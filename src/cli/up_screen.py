"""The output of `up`: a panel in a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from headrace.cli.errors import DEFAULT_URL
from headrace.cli.fact_panel import show_facts
from headrace.cli.service import ServiceSpec
from headrace.cli.text import one_line
from headrace.cli.typed_command import typed_command

_SAVE: Final = "correct it and save the file"
_RESTART: Final = "correct it, then stop this and start it again"


class UpScreen:
    """Prints the phases and the warnings of one `up`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def show_starting(self, spec: ServiceSpec) -> None:
        embedded = [
            name
            for name, url in (("PostgreSQL", spec.settings.database_url), ("Redis", spec.settings.redis_url))
            if not url
        ]
        names = ", ".join([*embedded, "API", f"{spec.workers} worker{'s' if spec.workers > 1 else ''}"])
        self._print(Text(f"starting {names} ...", style="dim"))

    def show_ready(
        self, spec: ServiceSpec, pipelines: Sequence[str], unserved: Sequence[str], faults: Sequence[str] = ()
    ) -> None:
        """Print the address, the *pipelines* that workers serve, the others, and a command to try next.

        *faults* are those of the sources of pipelines.
        """
        url_option = "" if spec.url == DEFAULT_URL else f" --url {spec.url}"
        token = "" if spec.settings.auth == "local" else "HEADRACE_TOKEN=... "
        example = "ticks" if "ticks" in pipelines else next(iter(pipelines), "NAME")
        facts = [
            ("address", Text(spec.url, style="bold cyan")),
            ("API docs", Text(f"{spec.url}/docs", style="cyan")),
            ("pipelines", Text(", ".join(pipelines) or "none", style="" if pipelines else "yellow")),
            *([("not served", Text(", ".join(unserved), style="yellow"))] if unserved else []),
            *(("fault", Text(f"{one_line(fault)}; {_advice(spec)}", style="red")) for fault in faults),
            ("data", Text(display_path(spec.data_dir))),
            ("logs", Text(f"{display_path(spec.logs)}/*.log")),
            ("try", Text(f"{token}{typed_command()} submit {example} --watch{url_option}", style="green")),
        ]
        title = f"Headrace is ready in {time.monotonic() - self._started:.1f} s"
        with contextlib.suppress(OSError):
            show_facts(self._console, title, facts, "Ctrl-C stops everything")

    def show_reloaded(self, pipelines: Sequence[str], faults: Sequence[str]) -> None:
        """Print what is served after files have changed, and the *faults* of the sources."""
        self.report("reload", f"ready again; pipelines: {', '.join(pipelines) or 'none'}")
        for fault in faults:
            self._print(Text.assemble((f"{'reload':<9} ", "dim"), (f"{one_line(fault)}; {_SAVE}", "red")))

    def report(self, source: str, line: str) -> None:
        """Print a warning or an error of a process."""
        style = "red" if "[error" in line or "ended (" in line else "yellow"
        self._print(Text.assemble((f"{source:<9} ", "dim"), (one_line(line), style)))

    def show_stopping(self) -> None:
        hint = " (Ctrl-C again to hurry)" if self._console.is_terminal else ""
        self._print(Text(f"stopping: running jobs end or are handed back{hint} ...", style="dim"))

    def show_stopped(self) -> None:
        self._print(Text("stopped", style="dim"))

    def _print(self, line: Text) -> None:
        # A closed terminal must not prevent an orderly stop.
        with contextlib.suppress(OSError):
            self._console.print(line, soft_wrap=True)


def _advice(spec: ServiceSpec) -> str:
    return _SAVE if spec.reload else _RESTART


def display_path(path: Path) -> str:
    """Return the path relative to the current folder, if it is inside it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
