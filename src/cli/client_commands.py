"""Commands that list jobs and pipelines, and that show, cancel or retry one job, over the REST API."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.options import client_options, job_id

if TYPE_CHECKING:
    from rich.console import Console

_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")
_AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")


@click.command(epilog="\b\nExamples:\n  headrace pipelines\n  headrace pipelines --remove nightly@2")
@click.option(
    "--remove",
    "removed",
    metavar="NAME[@VERSION]",
    help="Remove all versions of a pipeline, or one, that no live worker serves. Its past jobs stay.",
)
@_AS_JSON
@client_options
def pipelines(removed: str | None, as_json: bool, url: str, token: str | None) -> None:
    """List the pipelines and their parameters. Parameters with a * are required.

    `served` says whether a live worker runs jobs of it now.
    """
    from headrace.cli.api_client import ApiClient
    from headrace.cli.tables import pipelines_table

    api = ApiClient(url, token)
    if removed is not None:
        name, version = _split_version(removed)
        api.delete(f"/pipelines/{name}", version=version)
        click.echo(f"removed {removed}")
        return
    answer = api.get("/pipelines")
    if as_json:
        _print_json(answer["items"])
    elif answer["items"]:
        _console().print(pipelines_table(answer["items"]))
    else:
        click.echo("no pipelines yet: a worker registers its pipelines when it starts", err=True)


def _split_version(text: str) -> tuple[str, int | None]:
    """Return the name and the version of NAME or NAME@VERSION."""
    name, at, version = text.partition("@")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or (at and not version.isdecimal()):
        raise click.BadParameter(f"{text!r} is not NAME or NAME@VERSION", param_hint="--remove")
    return name, int(version) if at else None


@click.command(epilog="\b\nExample:\n  headrace jobs --state failed --limit 5")
@click.option("--state", type=click.Choice(_STATES), help="List only jobs in this state.")
@click.option("--pipeline", metavar="NAME", help="List only jobs of this pipeline.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Maximum number of jobs."
)
@_AS_JSON
@client_options
def jobs(
    state: str | None, pipeline: str | None, limit: int, as_json: bool, url: str, token: str | None
) -> None:
    """List jobs, newest first."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.tables import jobs_table

    answer = ApiClient(url, token).get("/jobs", state=state, pipeline=pipeline, limit=limit)
    listed = answer["items"]
    if as_json:
        _print_json(listed)
    elif listed:
        _console().print(jobs_table(listed, datetime.now(UTC)))
    if not as_json and answer["total"] != len(listed):
        click.echo(f"{len(listed)} of {answer['total']} jobs", err=True)
    elif not listed and not as_json:
        click.echo("no jobs; submit one with: headrace submit ticks --watch", err=True)


@click.command(epilog="\b\nExample:\n  headrace show 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@_AS_JSON
@client_options
def show(job: str, as_json: bool, url: str, token: str | None) -> None:
    """Show one job: its state, steps and files, and why it failed."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.tables import show_job

    api = ApiClient(url, token)
    details = api.get(f"/jobs/{job}")
    steps = api.get(f"/jobs/{job}/steps")["items"]
    files = api.get(f"/jobs/{job}/files", limit=1000)["items"]
    if as_json:
        _print_json({**details, "steps": steps, "files": files})
    else:
        show_job(_console(), details, steps, files, datetime.now(UTC))


@click.command(epilog="\b\nExample:\n  headrace cancel 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@client_options
def cancel(job: str, url: str, token: str | None) -> None:
    """Cancel a job. A queued job is cancelled at once; a running job stops soon afterwards."""
    from headrace.cli.api_client import ApiClient

    state = ApiClient(url, token).post(f"/jobs/{job}/cancel")["state"]
    click.echo("cancelled" if state == "cancelled" else "cancel requested; the job is still running")


@click.command(epilog="\b\nExample:\n  headrace retry 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@client_options
def retry(job: str, url: str, token: str | None) -> None:
    """Queue a failed job again. Steps that have succeeded are not repeated."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.errors import watch_command

    api = ApiClient(url, token)
    api.post(f"/jobs/{job}/retry")
    click.echo(f"queued again; watch it with: {watch_command(api.url, job)}")


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False)
    # Output that goes to a file or a pipe must not be wrapped to the width of a screen.
    return console if console.is_terminal else Console(highlight=False, width=250)


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


COMMANDS: Final = (pipelines, jobs, show, cancel, retry)
