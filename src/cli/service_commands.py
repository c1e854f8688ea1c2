"""The parts of the service, alone or together: `migrate`, `api`, `worker`, `up`."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import Final

import click

from adapters.telemetry import configure_logging
from domain.errors import HeadraceError
from settings import Settings, read_settings



def _start(settings: Settings) -> None:
    configure_logging(settings.log_level, as_json=settings.env == "production")


@click.command()
def migrate() -> None:
    """Bring the database to the version of this installation."""
    from adapters.database import StatementPool, upgrade
    from domain.events.partitions import make_partitions

    settings = read_settings()
    settings.needs("database_url")
    _start(settings)
    url = str(settings.database_url)
    upgrade(url)

    async def finish() -> None:
        pool = await StatementPool.open(url, size=1)
        try:
            await make_partitions(pool, datetime.now(UTC))
        finally:
            await pool.close()

    asyncio.run(finish())
    click.echo("the database is up to date")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option("--reload", is_flag=True, hidden=True)
def api(host: str, port: int, reload: bool) -> None:
    """Serve the REST API and the streams."""
    from api.authentication import refuse_remote
    from cli.server import serve

    settings = read_settings()
    settings.needs("database_url")
    _start(settings)
    refuse_remote(host, allow_remote=settings.allow_remote)
    _ = reload
    serve(settings, host, port)


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="Queue to serve; may be repeated. [default: default]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many jobs to run at once. [default: HEADRACE_WORKER_CONCURRENCY]",
)
@click.option(
    "--alone", is_flag=True, hidden=True, help="Be the worker process itself, without its supervisor."
)
def worker(queues: tuple[str, ...], concurrency: int | None, alone: bool) -> None:
    """Run jobs. A small parent keeps one worker process alive."""
    from workers.supervisor import REFUSED_EXIT, end_with_parent, supervise

    settings = read_settings()
    settings.needs("database_url")
    _start(settings)
    if not alone:
        command = [sys.argv[0], *sys.argv[1:], "--alone"]
        if not os.access(sys.argv[0], os.X_OK):
            command.insert(0, sys.executable)
        sys.exit(supervise(command, stop_seconds=settings.grace_seconds * 2 + 20))
    from workers.main import run_worker

    end_with_parent()
    try:
        asyncio.run(run_worker(settings, queues or ("default",), concurrency or settings.worker_concurrency))
    except HeadraceError as error:
        click.echo(f"headrace worker: {error}", err=True)
        sys.exit(REFUSED_EXIT)


COMMANDS: Final = (migrate, api, worker)
