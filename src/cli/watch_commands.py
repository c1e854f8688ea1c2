"""`submit` and `watch`: submit a job, and follow it until it ends."""

import sys
from typing import Any, Final

import click

from headrace.cli.options import (
    EXIT_STATUSES,
    VerdictCommand,
    client_options,
    job_id,
    job_params,
    submission_key,
    term_options,
)

_PATIENCE_OPTION: Final = click.option(
    "--patience",
    type=click.FloatRange(0, 86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long the service may be away before the command gives up.",
)
_JSON_OPTION: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; while watching, one line per frame."
)


@click.command(
    cls=VerdictCommand,
    short_help="Submit a job.",
    epilog="""\b
Examples:
  headrace submit ticks --watch
  headrace submit ticks --params '{"count": 30, "steps": 3}'
  headrace submit shootout --params @shootout.json --key take-1
  headrace submit ticks --run-at 10m --priority 9 --tag nightly

Prints the id of the job. With --watch the exit status is that of the job (see: headrace watch --help);
otherwise it is 0 if the job was accepted and 1 if it was refused.
""",
)
@click.argument("name")
@click.option(
    "--params",
    type=job_params,
    metavar="JSON|@FILE",
    default="{}",
    help="Parameters: a JSON object, @FILE to read one, or @- for standard input.",
)
@click.option(
    "--key",
    type=submission_key,
    metavar="KEY",
    help="Idempotency key: a second submission with the same key returns the same job.",
)
@click.option(
    "--version", type=click.IntRange(1), metavar="N", help="Version of the pipeline. [default: the newest]"
)
@term_options
@click.option("--watch", "watch_it", is_flag=True, help="Watch the job until it ends.")
@_JSON_OPTION
@_PATIENCE_OPTION
@client_options
def submit(
    name: str,
    params: dict[str, Any],
    key: str | None,
    watch_it: bool,
    as_json: bool,
    patience: float,
    url: str,
    token: str | None,
    **options: Any,
) -> None:
    """Submit a job for the pipeline NAME."""
    import msgspec

    from headrace.cli.api_client import ApiClient
    from headrace.cli.errors import watch_command
    from headrace.cli.watch_run import watch_job

    api = ApiClient(url, token)
    job = api.submit(name, params, key, **options)
    if job["waiting_for"] == "no_worker":
        click.echo(f"no live worker serves {name}: the job waits until one does", err=True)
    if not watch_it:
        click.echo(msgspec.json.encode(job).decode() if as_json else job["id"])
        if sys.stdout.isatty() and not as_json:
            click.echo(f"queued; watch it with: {watch_command(api.url, job['id'])}", err=True)
        return
    sys.exit(watch_job(api, job["id"], after=0, as_json=as_json, patience_seconds=patience, was_reached=True))


@click.command(
    cls=VerdictCommand,
    short_help="Watch a job live until it ends.",
    epilog=f"""\b
Examples:
  headrace watch 01a1fcda-1222-71e3-b3dd-702451ba443d
  headrace watch 01a1fcda-1222-71e3-b3dd-702451ba443d --json --after 17 | jq .type

{EXIT_STATUSES}
""",
)
@click.argument("job", type=job_id)
@click.option(
    "--after",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="SEQ",
    help="Start after this event; 0 shows the whole history.",
)
@_JSON_OPTION
@_PATIENCE_OPTION
@client_options
def watch(job: str, after: int, as_json: bool, patience: float, url: str, token: str | None) -> None:
    """Watch a job live until it ends: a bar for each step, its logs and its files.

    After a lost connection the watch resumes where it stopped; no event is missed or shown twice.
    """
    from headrace.cli.api_client import ApiClient
    from headrace.cli.watch_run import watch_job

    api = ApiClient(url, token)
    sys.exit(watch_job(api, job, after=after, as_json=as_json, patience_seconds=patience, was_reached=False))


COMMANDS: Final = (submit, watch)
