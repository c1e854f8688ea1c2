"""`headrace up`: everything on this machine, with one command."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from cli.interrupts import Interrupts
from cli.parts import Say
from cli.service import Plan, Service, hand_on
from settings import Settings, read_settings

_LEFT_BEHIND_SECONDS: Final = 20.0


@click.command(
    epilog="""\b
Examples:
  headrace up
  HEADRACE_PIPELINES=my_pipelines.py headrace up --port 8080 --workers 2
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the API; 0 takes any that is free.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="How many worker processes."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where databases, files and logs are kept. [default: HEADRACE_DATA_DIR or .headrace]",
)
@click.option("--reload", is_flag=True, help="Start API and workers again when a Python file changes.")
def up(host: str, port: int, workers: int, data_dir: Path | None, reload: bool) -> None:
    """Start everything on this machine: PostgreSQL, Redis, API and workers.

    A server whose URL is set (HEADRACE_DATABASE_URL, HEADRACE_REDIS_URL) is used and not started. What crashes
    is started again. Ctrl-C or SIGTERM stops all in order: running jobs end or are handed back, and go on at
    the next start. A second Ctrl-C hurries.
    """
    settings = read_settings()
    plan = Plan(
        settings=settings,
        host=host,
        port=port,
        workers=workers,
        data_dir=(data_dir or settings.data_dir).expanduser().absolute(),
        reload=reload,
    )
    run_up(plan, Console(highlight=False))


def run_up(plan: Plan, console: Console) -> None:
    """Run until told to stop.

    Raises:
        HeadraceError: something refuses to start; what ran already is stopped.
    """
    from adapters.servers import run_servers
    from cli.server import listen
    from cli.up_screen import Screen

    screen = Screen(console)
    interrupts = Interrupts()
    with interrupts.caught(), contextlib.suppress(KeyboardInterrupt), _announced(plan):
        with listen(plan.host, plan.port) as free:
            plan = _with_port(plan, free.getsockname()[1])
        screen.starting(plan)
        wanted = {"postgres": not plan.settings.database_url, "redis": not plan.settings.redis_url}
        with run_servers(plan.data_dir, **wanted) as servers:
            for note in servers.notes:
                screen.say("servers", note)
            database_url = servers.database_url or str(plan.settings.database_url)
            redis_url = servers.redis_url or str(plan.settings.redis_url)
            prepare(plan, database_url, redis_url)
            asyncio.run(_run_parts(plan, interrupts, screen))
    screen.stopped()
