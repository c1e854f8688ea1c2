"""`headrace up`: starts everything on this machine with one command."""

from pathlib import Path
from typing import Final

import click

from headrace.settings import read_settings


@click.command(
    short_help="Start everything on this machine; Ctrl-C stops it.",
    epilog="""\b
Examples:
  headrace up
  HEADRACE_PIPELINES=my_pipelines.py headrace up --port 8080 --workers 2
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the API listens on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port that the API listens on; 0 means any free port.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of worker processes."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for databases, files and logs. [default: HEADRACE_DATA_DIR or .headrace]",
)
@click.option("--reload", is_flag=True, help="Restart API and workers when a Python file changes.")
def up(host: str, port: int, workers: int, data_dir: Path | None, reload: bool) -> None:
    """Start everything on this machine: PostgreSQL, Redis, API and workers.

    A server whose URL is set (HEADRACE_DATABASE_URL, HEADRACE_REDIS_URL) is used and not started. Processes
    that crash are restarted. Ctrl-C or SIGTERM stops everything in order: running jobs end or are handed
    back, and continue at the next start. A second Ctrl-C stops at once.
    """
    from rich.console import Console

    from headrace.cli.service import ServiceSpec
    from headrace.cli.up import run_up

    settings = read_settings()
    spec = ServiceSpec(
        settings=settings,
        host=host,
        port=port,
        workers=workers,
        data_dir=(data_dir or settings.data_dir).expanduser().absolute(),
        reload=reload,
    )
    run_up(spec, Console(highlight=False))


COMMANDS: Final = (up,)
