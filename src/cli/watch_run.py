"""Watches one job until it ends and prints its outcome."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from headrace.cli.api_client import ApiClient
from headrace.cli.errors import RefusedError, UnreachableError, watch_command
from headrace.cli.job_view import JobViewModel
from headrace.cli.job_watch import JobWatch
from headrace.cli.live_renderer import STATE_STYLES
from headrace.cli.tables import error_text, files_table, short
from headrace.cli.watch_screen import JsonScreen, LiveScreen, PlainScreen, WatchScreen

VERDICTS: Final = {"succeeded": 0, "failed": 1, "cancelled": 2}


def watch_job(
    api: ApiClient,
    job_id: str,
    *,
    after: int,
    as_json: bool,
    patience_seconds: float,
    was_reached: bool,
    labels: Mapping[str, str] | None = None,
) -> int:
    """Watch until the job ends. Returns its verdict as an exit status, or 130 after Ctrl-C.

    Raises:
        HeadraceError: the job cannot be watched, or the service stays away.
    """
    console = Console(highlight=False)
    view = JobViewModel(job_id)
    with ExitStack() as stack:
        screen: WatchScreen
        if as_json:
            screen = JsonScreen()
        elif console.is_terminal and not console.is_dumb_terminal:
            _load_steps(api, view, after)
            screen = stack.enter_context(LiveScreen(view, console, labels or {}))
        else:
            screen = PlainScreen(view, console, after)
        watch = JobWatch(
            api,
            job_id,
            after=after,
            patience_seconds=patience_seconds,
            on_connection=screen.show_connection,
            was_reached=was_reached,
        )
        try:
            state = asyncio.run(follow(watch, screen, partial(_load_reason, api, view)))
        except KeyboardInterrupt:
            stack.close()
            command = watch_command(api.url, job_id, watch.cursor)
            click.echo(f"headrace: stopped watching; the job continues. Resume with: {command}", err=True)
            return 130
    if not as_json:
        print_outcome(api, view, console)
    # A final state that only a newer service knows is no success.
    return VERDICTS.get(state, 1)


async def follow(watch: JobWatch, screen: WatchScreen, load_reason: Callable[[], None] = lambda: None) -> str:
    """Show every frame and return the final state of the job. Raises the errors of `JobWatch.frames`.

    *load_reason* is called with every beat, in a thread: no frame says that the reason of a wait has changed.
    """
    async with aclosing(watch.frames()) as frames:  # type: ignore[type-var]
        async for frame in frames:
            screen.show(frame)
            if frame.kind == "beat":
                await asyncio.to_thread(load_reason)
                screen.show_waiting()
            if frame.kind == "end":
                return str(frame.body["state"])
    raise AssertionError("the frames end with the job")


def print_outcome(api: ApiClient, view: JobViewModel, console: Console) -> None:
    """Print the state, the error or result, and the files."""
    state = str(view.end)
    console.print(Text.assemble("the job ", (state, f"bold {STATE_STYLES.get(state, '')}")), soft_wrap=True)
    if view.error:
        console.print(error_text(view.error), soft_wrap=True)
    if view.result is not None:
        console.print(Text.assemble(("result  ", "dim"), short(view.result, 400)), soft_wrap=True)
    try:
        files = api.get(f"/jobs/{view.job_id}/files", limit=1000)["items"]
    except (RefusedError, UnreachableError):
        return
    if files:
        console.print(files_table(files))


def _load_reason(api: ApiClient, view: JobViewModel) -> None:
    """Load why a queued job waits. Errors are ignored: the watch reports them if they matter."""
    if view.state != "queued":
        return
    try:
        view.waiting_for = api.get(f"/jobs/{view.job_id}")["waiting_for"]
    except (RefusedError, UnreachableError):
        return


def _load_steps(api: ApiClient, view: JobViewModel, after: int) -> None:
    """Load the steps before their first frames. Errors are ignored: the watch reports them if they matter."""
    try:
        job = api.get(f"/jobs/{view.job_id}")
        pipeline = api.get(f"/pipelines/{job['pipeline']}")
        if pipeline["version"] == job["version"]:
            view.add_steps(step["name"] for step in pipeline["steps"])
        if after:
            view.load_step_runs(api.get(f"/jobs/{view.job_id}/steps")["items"])
    except (RefusedError, UnreachableError):
        return
