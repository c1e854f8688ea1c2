"""`headrace retention` shows how long everything is kept, `headrace prune` removes what is past its term."""

from pathlib import Path
from typing import Final

import click

from headrace.cli.options import client_options, data_dir_option
from headrace.cli.output import json_option, open_console, print_json


@click.command(
    short_help="Show how long everything is kept.", epilog="\b\nExample:\n  headrace retention --json"
)
@json_option
@client_options
def retention(as_json: bool, url: str, token: str | None) -> None:
    """Show everything that grows, how long it is kept, how much there is, and when it is pruned next.

    For admins.
    """
    from datetime import UTC, datetime

    from headrace.cli.api_client import ApiClient
    from headrace.cli.retention_tables import retention_table

    report = ApiClient(url, token).get("/retention")
    if as_json:
        print_json(report)
        return
    console = open_console()
    console.print(retention_table(report["items"], datetime.now(UTC)))
    for entry in report["pipelines"]:
        terms = ", ".join(f"{state} jobs {term}" for state, term in entry["keep"].items())
        console.print(f"{entry['pipeline']} version {entry['version']} keeps {terms}")


@click.command(
    short_help="Remove what is past its term now.",
    epilog="""\b
Examples:
  headrace prune --dry-run
  HEADRACE_KEEP_SUCCEEDED=7d headrace prune
""",
)
@click.option("--dry-run", is_flag=True, help="Count what would be removed; change nothing.")
@data_dir_option
@json_option
def prune(dry_run: bool, data_dir: Path | None, as_json: bool) -> None:
    """Remove the jobs, files and other rows that are past their term, as workers do all the time.

    Works on the database, on the terms of HEADRACE_KEEP_SUCCEEDED, _FAILED, _CANCELLED, _FILES and _AUDIT. It
    pauses between its statements, so that jobs go on. Workers remove the bytes of files later. With
    --dry-run, only those partitions of the event log are counted that are empty already.
    """
    from headrace.cli.prune import count_prunable, prune_now
    from headrace.settings import read_settings

    settings = read_settings()
    counts = (count_prunable if dry_run else prune_now)(settings, data_dir)
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        click.echo(f"{count:>10,}  {name}")
    click.echo("nothing was changed" if dry_run else "pruned")


COMMANDS: Final = (retention, prune)
