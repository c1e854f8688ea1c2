"""Reads the history of a job page by page, and prints its log lines."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec

from headrace.cli.api_client import ApiClient
from headrace.cli.job_view import JobViewModel
from headrace.cli.job_watch import PATIENCE_SECONDS, JobWatch
from headrace.cli.live_renderer import render_line
from headrace.cli.output import open_console, report_connection

_PAGE: Final = 1000


def read_events(
    api: ApiClient, job_id: str, after: int = 0, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the events of a job after a number, at most *limit*. Raises the errors of `ApiClient.get`."""
    left = limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        events = api.get(f"/jobs/{job_id}/events", after=after, limit=size)["items"]
        yield from events
        if len(events) < size:
            return
        after = events[-1]["seq"]
        left = None if left is None else left - len(events)


def print_logs(api: ApiClient, job_id: str, *, as_json: bool) -> None:
    """Print the log lines of a job so far. Raises the errors of `ApiClient.get`."""
    printer = LogPrinter(job_id, as_json=as_json)
    for event in read_events(api, job_id):
        printer.show(event)


def follow_logs(api: ApiClient, job_id: str, *, as_json: bool) -> int:
    """Print the log lines until the job ends. Returns the exit status: 0, or 130 after Ctrl-C.

    Raises:
        HeadraceError: the job cannot be watched, or the service stays away.
    """
    printer = LogPrinter(job_id, as_json=as_json)
    watch = JobWatch(api, job_id, after=0, patience_seconds=PATIENCE_SECONDS, on_connection=report_connection)

    async def follow() -> None:
        async for frame in watch.frames():
            printer.show(frame.body)

    try:
        asyncio.run(follow())
    except KeyboardInterrupt:
        return 130
    return 0


class LogPrinter:
    """Prints the frames that are log lines."""

    def __init__(self, job_id: str, *, as_json: bool) -> None:
        self._view = JobViewModel(job_id)
        self._as_json = as_json
        self._console = open_console()

    def show(self, frame: dict[str, Any]) -> None:
        if frame.get("type") != "log":
            return
        if self._as_json:
            click.echo(msgspec.json.encode(frame).decode())
            return
        for line in self._view.apply(frame):
            self._console.print(render_line(line), soft_wrap=True)
