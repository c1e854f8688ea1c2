"""The parts of the service alone, as in a deployment: `migrate`, `api`, `worker`."""

import asyncio
import os
import sys
import traceback
from typing import Final, NoReturn

import click

from headrace.domain.errors import HeadraceError
from headrace.settings import Settings, read_settings

_TIED: Final = click.option(
    "--tied", is_flag=True, hidden=True, help="End when standard input ends; `up` starts its parts so."
)


@click.command(
    epilog="""\b
Example:
  HEADRACE_DATABASE_URL=postgresql://me@localhost/headrace headrace migrate
"""
)
@click.option("--history", is_flag=True, help="Change nothing; list the revisions and mark the database's.")
def migrate(history: bool) -> None:
    """Bring the database to the version of this installation.

    Needs HEADRACE_DATABASE_URL. Run it before the first start and after each update; running it again changes
    nothing. `headrace up` does it by itself.
    """
    from headrace.cli.migrate import bring_up_to_date, describe_revisions

    settings = _start()
    if history:
        click.echo("\n".join(describe_revisions(str(settings.database_url))))
        return
    bring_up_to_date(str(settings.database_url))
    click.echo("the database is up to date")


@click.command(
    epilog="""\b
Example:
  headrace api --port 8000
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@_TIED
def api(host: str, port: int, tied: bool) -> None:
    """Serve the REST API and the streams.

    Needs HEADRACE_DATABASE_URL, and HEADRACE_REDIS_URL unless a second of delay does not matter. Ends with
    status 78 when it refuses to start; the reason is the last line.
    """
    from headrace.cli.exit import end_with_starter

    if tied:
        end_with_starter()
    try:
        from headrace.cli.api_start import check_start
        from headrace.cli.server import listen, serve

        settings = _start()
        check_start(settings, host)
        listener = listen(host, port)
    except HeadraceError as error:
        _refuse("api", error)
    serve(settings, listener)


@click.command(
    epilog="""\b
Example:
  headrace worker --queue default --queue slow --concurrency 4
"""
)
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
@click.option("--suspect", is_flag=True, hidden=True, help="Run one job that was lost twice, and end.")
@_TIED
def worker(queues: tuple[str, ...], concurrency: int | None, alone: bool, suspect: bool, tied: bool) -> None:
    """Run jobs. A small parent keeps one worker process alive.

    Needs HEADRACE_DATABASE_URL; HEADRACE_PIPELINES names your own pipelines. SIGTERM lets running jobs end
    or hands them back. Ends with status 78 when it refuses to start; the reason is the last line.
    """
    import uvloop

    from headrace.cli.exit import end_with_starter
    from headrace.workers.supervisor import end_with_parent, supervise

    if tied:
        end_with_starter()
    try:
        settings = _start()
        if not alone:
            command = [sys.argv[0], *sys.argv[1:], "--alone"]
            if not os.access(sys.argv[0], os.X_OK):
                command.insert(0, sys.executable)
            sys.exit(supervise(command, stop_seconds=settings.grace_seconds * 2 + 40))
        end_with_parent()
        slots = 1 if suspect else concurrency or settings.worker_concurrency
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, queues or ("default",), slots, only_suspect=suspect))
    except HeadraceError as error:
        _refuse("worker", error)


async def _work(
    settings: Settings, queues: tuple[str, ...], concurrency: int, *, only_suspect: bool
) -> NoReturn:
    """Be the worker; the process ends with it, whatever its steps have left in the loop."""
    from headrace.cli.database_refusals import refusals_told
    from headrace.cli.exit import leave
    from headrace.domain.database import TRANSIENT
    from headrace.workers.child.oom import prefer_oom_kill
    from headrace.workers.main import run_worker
    from headrace.workers.supervisor import REFUSED_EXIT

    if only_suspect:
        prefer_oom_kill()
    try:
        with refusals_told():
            await run_worker(settings, queues, concurrency, only_suspect=only_suspect)
    except TRANSIENT as error:
        # PostgreSQL's trouble passes: the next start may find it well.
        click.echo(f"headrace worker: {error}", err=True)
        leave(1)
    except HeadraceError as error:
        click.echo(f"headrace worker: {error}", err=True)
        leave(REFUSED_EXIT)
    except BaseException:  # noqa: BLE001  (the supervisor starts the next one)
        traceback.print_exc()
        leave(1)
    leave(0)


def _refuse(part: str, error: HeadraceError) -> NoReturn:
    from headrace.workers.supervisor import REFUSED_EXIT

    click.echo(f"headrace {part}: {error}", err=True)
    sys.exit(REFUSED_EXIT)


def _start() -> Settings:
    from headrace.adapters.logs import configure_logging

    settings = read_settings()
    settings.needs("database_url")
    configure_logging(settings.log_level, as_json=settings.env == "production", secrets=settings.secrets)
    return settings


COMMANDS: Final = (migrate, api, worker)
