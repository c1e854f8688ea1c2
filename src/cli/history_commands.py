"""Commands that print the events and the log of a job, over the REST API."""

import sys
from typing import Final

import click

from headrace.cli.options import client_options, job_id
from headrace.cli.output import open_console


@click.command(
    epilog="""\b
Examples:
  headrace logs 01a1fcda-1222-71e3-b3dd-702451ba443d
  headrace logs 01a1fcda-1222-71e3-b3dd-702451ba443d --follow
"""
)
@click.argument("job", type=job_id)
@click.option("--follow", "-f", is_flag=True, help="Wait for new lines until the job ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one event a line, as JSON.")
@client_options
def logs(job: str, follow: bool, as_json: bool, url: str, token: str | None) -> None:
    """Print what the steps of a job have logged."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.job_logs import follow_logs, print_logs

    api = ApiClient(url, token)
    if follow:
        sys.exit(follow_logs(api, job, as_json=as_json))
    print_logs(api, job, as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  headrace events 01a1fcda-1222-71e3-b3dd-702451ba443d
  headrace events 01a1fcda-1222-71e3-b3dd-702451ba443d --after 17 --json | jq .type
"""
)
@click.argument("job", type=job_id)
@click.option(
    "--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Start after this event. [default: 0]"
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of events. [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print one event a line, as JSON.")
@client_options
def events(job: str, after: int, limit: int | None, as_json: bool, url: str, token: str | None) -> None:
    """Print the events of a job, which are numbered from 1 without gaps."""
    import msgspec

    from headrace.cli.api_client import ApiClient
    from headrace.cli.job_logs import read_events
    from headrace.cli.resource_tables import event_line

    console = open_console()
    for event in read_events(ApiClient(url, token), job, after, limit):
        if as_json:
            click.echo(msgspec.json.encode(event).decode())
        else:
            console.print(event_line(event), soft_wrap=True)


COMMANDS: Final = (logs, events)
