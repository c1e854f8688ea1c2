"""Commands that show what waits, what runs and who runs it, over the REST API."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import click

from headrace.cli.options import client_options
from headrace.cli.output import json_option, open_console, print_json

_FAILURES: Final = 5
_MAX_RUNNING: Final = 1_000

window_option: Final = click.option(
    "--window",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How far back rates and times are measured: 1m to 1d.",
)


@click.command(
    short_help="Show queues, workers and the last failures on one page.",
    epilog="\b\nExamples:\n  headrace status\n  headrace status --window 15m --pipeline nightly",
)
@window_option
@click.option("--pipeline", metavar="NAME", help="Count and measure only jobs of this pipeline.")
@json_option
@client_options
def status(window: str, pipeline: str | None, as_json: bool, url: str, token: str | None) -> None:
    """Show on one page what waits, what runs, who runs it, and what failed last.

    Admins see the jobs of all users, others their own. Numbers with a ~ are estimates.
    """
    from headrace.cli.api_client import ApiClient
    from headrace.cli.status_page import StatusPage

    api = ApiClient(url, token)
    running = api.get("/jobs", state="running", limit=_MAX_RUNNING)
    failed = api.get("/jobs", state="failed", pipeline=pipeline, order_by="-finished_at", limit=_FAILURES)
    answers: dict[str, Any] = {
        "stats": api.get("/stats", window=window, pipeline=pipeline),
        "queues": api.get("/queues")["items"],
        "workers": api.get("/workers")["items"],
        "running": running["items"],
        "failed": failed["items"],
    }
    if as_json:
        print_json(answers)
        return
    page = StatusPage(now=datetime.now(UTC), is_failed_cut=_is_cut(failed), **answers)
    open_console().print(page.render(api.url))


def _is_cut(page: dict[str, Any]) -> bool:
    """Return whether a list may go on after *page*: the service looks only so far back for a page."""
    return "next" in page or "searched_back_to" in page


@click.command(epilog="\b\nExample:\n  headrace queues")
@json_option
@client_options
def queues(as_json: bool, url: str, token: str | None) -> None:
    """List the queues: what waits in them and since when, what runs, and how many workers serve them."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.status_page import queues_table

    _print(
        ApiClient(url, token).get("/queues")["items"],
        partial(queues_table, now=datetime.now(UTC)),
        as_json=as_json,
        empty="no queues: no worker runs, and no job is queued",
    )


@click.command(epilog="\b\nExample:\n  headrace workers")
@json_option
@client_options
def workers(as_json: bool, url: str, token: str | None) -> None:
    """List the live workers: the queues that they serve, and how many jobs they run of how many."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.status_page import workers_table

    _print(
        ApiClient(url, token).get("/workers")["items"],
        partial(workers_table, jobs={}, now=datetime.now(UTC)),
        as_json=as_json,
        empty="no live workers; start one with: headrace worker",
    )


def _print(items: list[Any], build_table: Any, *, as_json: bool, empty: str) -> None:
    if as_json:
        print_json(items)
    elif items:
        open_console().print(build_table(items))
    else:
        click.echo(empty, err=True)


COMMANDS: Final = (status, queues, workers)
