"""The processes of a deployment, one command each: `migrate`, `api`, `worker`."""

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Final, NoReturn

import click
import msgspec

from headrace.domain.errors import HeadraceError
from headrace.settings import (
    Settings,
    explain_unknown_variables,
    forget_private_variables,
    read_settings,
    take_variables,
)
from headrace.workers.supervision import Supervision

# The supervisor kills a worker this long before its own time to stop is over.
_KILL_SECONDS: Final = 0.5
# The exit status of `migrate --check`.
_SOMETHING_TO_DO: Final = 3
_TIED: Final = click.option(
    "--tied", is_flag=True, hidden=True, help="Exit when standard input closes; `up` uses this."
)

_RESTARTED: Final = click.option(
    "--restarted", is_flag=True, hidden=True, help="A predecessor worked; `up` and the supervisor use this."
)


@click.command(
    short_help="Upgrade the database schema.",
    epilog="""\b
Examples:
  HEADRACE_DATABASE_URL=postgresql://me@localhost/headrace headrace migrate
  headrace migrate --check

Exit status: 0 done, or with --check nothing to do · 1 refused · 3 with --check: something is to do.
""",
)
@click.option("--history", is_flag=True, help="List the revisions and mark the current one; change nothing.")
@click.option(
    "--admin-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Afterwards create an API key with the scope admin in FILE, unless it holds one of this database.",
)
@click.option(
    "--metrics-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The same with the scope metrics:read, for Prometheus; the group of FILE may read it.",
)
@click.option("--check", is_flag=True, help="List what would run and what it locks; change no table.")
@click.option("--post", is_flag=True, help="Run also what breaks older processes: all of them have ended.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print JSON.")
def migrate(
    history: bool,
    check: bool,
    post: bool,
    as_json: bool,
    admin_key: Path | None,
    metrics_key: Path | None,
) -> None:
    """Upgrade the database schema to the version of this installation.

    Needs HEADRACE_DATABASE_URL. Run it before the first start and after each update. Running it again changes
    nothing. `headrace up` runs it automatically. Migrations named `post_` wait until no process of the
    service is connected, or for --post. It also moves events that a wrong clock put into the wrong partition:
    jobs wait for some seconds for each million of them.
    """
    from headrace.adapters.process_tree import run_below_init
    from headrace.cli.migrate import bring_up_to_date, describe_revisions

    run_below_init()
    settings = _load_settings()
    if history:
        click.echo("\n".join(describe_revisions(settings.database)))
        return
    if check:
        sys.exit(_check_migrations(settings, as_json))
    waiting = bring_up_to_date(settings.database, is_post=post).waiting
    click.echo("the database is up to date")
    if admin_key is not None or metrics_key is not None:
        _write_first_keys(settings, admin_key, metrics_key)
    if waiting:
        click.echo(
            f"revision {', '.join(waiting)} waits: when all processes of older releases have ended, run:"
            " headrace migrate --post",
            err=True,
        )


def _write_first_keys(settings: Settings, admin_key: Path | None, metrics_key: Path | None) -> None:
    from headrace.cli.first_keys import FirstKey, write_first_key
    from headrace.domain.accounts.scopes import Scope

    sentences = {
        FirstKey.MADE: "an API key with the scope {scope} is now in {file}",
        FirstKey.KEPT: "an API key with the scope {scope} is in {file}",
        FirstKey.REPLACED: (
            "a new API key with the scope {scope} is now in {file}: the database did not know the old one"
        ),
        FirstKey.DELETED: (
            "the API key in {file} was deleted from the database: remove the file to get a new one"
        ),
    }

    for file, scope, mode in ((admin_key, Scope.ADMIN, 0o600), (metrics_key, Scope.METRICS_READ, 0o640)):
        if file is not None:
            outcome = write_first_key(settings, file, scope, mode=mode)
            click.echo(sentences[outcome].format(scope=scope, file=file))


def _check_migrations(settings: Settings, as_json: bool) -> int:
    from headrace.cli.migrate_check import check_migrations, describe_report
    from headrace.cli.output import print_json

    report = check_migrations(settings.database)
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(describe_report(report)))
    return _SOMETHING_TO_DO if report.pending else 0


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
@_RESTARTED
def api(host: str, port: int, tied: bool, restarted: bool) -> None:
    """Serve the REST API and the live streams.

    Needs HEADRACE_DATABASE_URL. Without HEADRACE_REDIS_URL jobs start and
    events arrive up to a second later. Exits with
    status 78 if it refuses to start; the last line says why.
    """
    from headrace.adapters.process_tree import run_below_init
    from headrace.cli.process_exit import terminate_when_stdin_closes

    run_below_init()
    if tied:
        terminate_when_stdin_closes()
    try:
        from headrace.cli.listener import listen
        from headrace.cli.start_checks import check_start

        settings = _load_settings(is_server=True)
        if not (tied or restarted):
            _warn_of_unknown_variables(settings)
        check_start(settings, host, is_restart=restarted)
        # The web framework takes most of the time of a start, so a start that is refused does not import it.
        from headrace.cli.server import serve

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
    help="Queue to take jobs from; may be repeated. [default: default]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Number of jobs to run at once. [default: HEADRACE_WORKER_CONCURRENCY]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port for /metrics and /health; 0: none. [default: HEADRACE_WORKER_PORT]",
)
@click.option(
    "--alone", is_flag=True, hidden=True, help="Run as the worker process itself, without its supervisor."
)
@click.option("--suspect", is_flag=True, hidden=True, help="Run one suspect, then exit.")
@click.option("--parent", type=int, hidden=True, help="Id of the process with which this one ends.")
@click.option("--crash-record", type=click.Path(path_type=Path), hidden=True, help="See `CrashRecord`.")
@click.option(
    "--imports", type=click.Path(path_type=Path), hidden=True, help="File for the names of imported files."
)
@click.option(
    "--faults", type=click.Path(path_type=Path), hidden=True, help="File for the faults of the sources."
)
@click.option(
    "--secrets", type=click.Path(path_type=Path), hidden=True, help="File with settings, which is removed."
)
@_TIED
@_RESTARTED
def worker(  # noqa: PLR0913  (the options of a command)
    queues: tuple[str, ...],
    concurrency: int | None,
    port: int | None,
    alone: bool,
    suspect: bool,
    parent: int | None,
    crash_record: Path | None,
    imports: Path | None,
    faults: Path | None,
    secrets: Path | None,
    tied: bool,
    restarted: bool,
) -> None:
    """Run jobs. A small supervisor keeps one worker process alive.

    Needs HEADRACE_DATABASE_URL. HEADRACE_PIPELINES names your own pipelines. On SIGTERM running jobs end or
    are handed back. Exits with status 78 if it refuses to start; the last line says why.
    """
    from headrace.adapters.process_tree import end_with_parent
    from headrace.cli.process_exit import terminate_when_stdin_closes
    from headrace.domain.pipelines.sources import require_sources
    from headrace.workers.supervisor import supervise

    if tied:
        terminate_when_stdin_closes(crash_record)
    try:
        if secrets is not None:
            os.environ.update(take_variables(secrets))
        settings = _load_settings(is_server=True)
        if port is not None:
            settings = msgspec.structs.replace(settings, worker_port=port)
        if not alone:
            require_sources(settings.pipelines)
            if not (tied or restarted):
                _warn_of_unknown_variables(settings)
            # The worker imports modules from where this process does.
            command = [sys.executable, *sys.orig_argv[1:], "--alone"]
            sys.exit(supervise(command, stop_seconds=settings.stop_seconds - _KILL_SECONDS))
        from headrace.workers.worker_loop import new_worker_loop

        forget_private_variables(settings)
        # A suspect cannot hand its job back without the worker that started it; its supervisor would kill it.
        end_with_parent(parent or os.getppid(), signal.SIGKILL if suspect else signal.SIGTERM)
        slots = 1 if suspect else concurrency or settings.worker_concurrency
        work = _work(
            settings,
            queues or ("default",),
            slots,
            only_suspect=suspect,
            supervision=Supervision(
                crash_record=crash_record, is_restart=restarted, imports=imports, faults=faults
            ),
        )
        with asyncio.Runner(loop_factory=new_worker_loop) as runner:
            runner.run(work)
    except HeadraceError as error:
        _refuse("worker", error)


async def _work(
    settings: Settings,
    queues: tuple[str, ...],
    concurrency: int,
    *,
    only_suspect: bool,
    supervision: Supervision,
) -> NoReturn:
    """Run the worker, then end the process, even if steps have left tasks in the loop."""
    from headrace.cli.database_refusals import translate_refusals
    from headrace.cli.process_exit import exit_now
    from headrace.domain.database import TRANSIENT
    from headrace.workers.child.oom import prefer_oom_kill
    from headrace.workers.main import run_worker
    from headrace.workers.supervisor import REFUSED_EXIT

    monitoring = None
    if only_suspect:
        prefer_oom_kill()
    elif settings.worker_port:
        from headrace.workers.monitoring.service import WorkerMonitoring

        monitoring = WorkerMonitoring(settings)
    try:
        with contextlib.nullcontext() if supervision.is_restart else translate_refusals():
            await run_worker(
                settings,
                queues,
                concurrency,
                only_suspect=only_suspect,
                supervision=supervision,
                monitoring=monitoring,
            )
    except TRANSIENT as error:
        # PostgreSQL may be back at the next start.
        click.echo(f"headrace worker: {error}", err=True)
        exit_now(1)
    except HeadraceError as error:
        click.echo(f"headrace worker: {error}", err=True)
        exit_now(REFUSED_EXIT)
    except BaseException:  # noqa: BLE001  (the supervisor starts the next one)
        traceback.print_exc()
        exit_now(1)
    exit_now(0)


def _refuse(command: str, error: HeadraceError) -> NoReturn:
    from headrace.workers.supervisor import REFUSED_EXIT

    click.echo(f"headrace {command}: {error}", err=True)
    sys.exit(REFUSED_EXIT)


def _load_settings(*, is_server: bool = False) -> Settings:
    """Read the settings and configure the logs. A slow reader of standard error never holds up a server."""
    from headrace.adapters.log_stream import patient_stderr
    from headrace.adapters.logs import configure_logging

    settings = read_settings()
    settings.require("database_url")
    configure_logging(
        settings.log_level,
        as_json=settings.env == "production",
        secrets=settings.secrets,
        stream=patient_stderr() if is_server else None,
    )
    return settings


def _warn_of_unknown_variables(settings: Settings) -> None:
    """Log a line about variables that are no settings. Processes of `up` leave that to `up`."""
    import structlog

    warning = explain_unknown_variables(settings)
    if warning is not None:
        structlog.get_logger(__name__).warning("unknown_settings", warning=warning)


COMMANDS: Final = (migrate, api, worker)
