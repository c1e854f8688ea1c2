"""Follows all jobs of the caller and prints each one when it changes."""

import asyncio
from collections.abc import Sequence

import click
from rich.text import Text

from headrace.cli.api_client import ApiClient
from headrace.cli.job_watch import FIRST_CONNECT_SECONDS, PATIENCE_SECONDS, explained
from headrace.cli.live_renderer import STATE_STYLES
from headrace.cli.output import open_console, report_connection
from headrace_client import JobDeleted, JobSummary


def follow_jobs(
    api: ApiClient, states: Sequence[str], pipeline: str | None, tag: str | None, *, as_json: bool
) -> int:
    """Print the newest jobs and then each that changes, until Ctrl-C. Returns the exit status, 130.

    Raises:
        HeadraceError: the jobs cannot be watched, or the service stays away.
    """
    filters = {"state": next(iter(states), None), "pipeline": pipeline, "tag": tag}
    try:
        asyncio.run(_follow(api, {name: value for name, value in filters.items() if value}, as_json=as_json))
    except KeyboardInterrupt:
        return 130
    raise AssertionError("the jobs of a service have no end")


async def _follow(api: ApiClient, filters: dict[str, str], *, as_json: bool) -> None:
    console = open_console()
    with explained():
        async with api.open_async() as client:
            watch = client.watch_jobs(
                patience=PATIENCE_SECONDS,
                first_patience=FIRST_CONNECT_SECONDS,
                tell=report_connection,
                **filters,
            )
            async with watch as frames:
                async for frame in frames:
                    if as_json:
                        click.echo(frames.raw)
                    elif isinstance(frame, JobSummary):
                        console.print(_line(frame), soft_wrap=True)
                    elif isinstance(frame, JobDeleted):
                        console.print(f"{frame.job_id}  deleted", soft_wrap=True)


def _line(job: JobSummary) -> Text:
    state = Text(f"{job.state:<9}", style=STATE_STYLES.get(job.state, ""))
    return Text.assemble(
        (f"{job.job_id}  ", "dim"), state, f"  {job.progress:>4.0%}  ", (job.pipeline, "bold")
    )
