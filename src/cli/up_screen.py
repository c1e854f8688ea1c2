"""What `up` says: boxed in a terminal, plain lines everywhere else."""

import contextlib
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from headrace.cli.errors import DEFAULT_URL
from headrace.cli.fact_panel import show_facts
from headrace.cli.service import ServiceSpec


class UpScreen:
    """The output of one `up`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def starting(self, plan: ServiceSpec) -> None:
        own = [
            name
            for name, url in (("PostgreSQL", plan.settings.database_url), ("Redis", plan.settings.redis_url))
            if not url
        ]
        told = ", ".join([*own, "API", f"{plan.workers} worker{'s' if plan.workers > 1 else ''}"])
        self._print(Text(f"starting {told} ...", style="dim"))

    def ready(self, plan: ServiceSpec, pipelines: list[str]) -> None:
        """The address and what a newcomer does next."""
        there = "" if plan.address == DEFAULT_URL else f" --url {plan.address}"
        token = "" if plan.settings.auth == "local" else "HEADRACE_TOKEN=... "
        facts = [
            ("address", Text(plan.address, style="bold cyan")),
            ("API docs", Text(f"{plan.address}/docs", style="cyan")),
            ("pipelines", Text(", ".join(pipelines) or "none", style="" if pipelines else "yellow")),
            ("data", Text(shortest(plan.data_dir))),
            ("logs", Text(f"{shortest(plan.logs)}/*.log")),
            ("try", Text(f"{token}headrace submit ticks --watch{there}", style="green")),
        ]
        took = f"Headrace is ready in {time.monotonic() - self._began:.1f} s"
        with contextlib.suppress(OSError):
            show_facts(self._console, took, facts, "Ctrl-C stops everything")

    def say(self, who: str, line: str) -> None:
        """Something that the user should read at once."""
        style = "red" if "[error" in line or "ended (" in line else "yellow"
        self._print(Text.assemble((f"{who:<9} ", "dim"), (line, style)))

    def stopping(self) -> None:
        hint = " (Ctrl-C again to hurry)" if self._console.is_terminal else ""
        self._print(Text(f"stopping: running jobs end or are handed back{hint} ...", style="dim"))

    def stopped(self) -> None:
        self._print(Text("stopped", style="dim"))

    def _print(self, line: Text) -> None:
        # Whoever closes the terminal must not keep us from stopping in order.
        with contextlib.suppress(OSError):
            self._console.print(line, soft_wrap=True)


def shortest(path: Path) -> str:
    """The path as it would be typed here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
