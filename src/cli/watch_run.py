"""One watched job from the first frame to the last word."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from headrace.cli.api_client import ApiClient
from headrace.cli.errors import RefusedError, UnreachableError, watch_call
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
    """Watch until the job ends; returns its verdict as an exit status, 130 when the reader leaves.

    Raises:
        HeadraceError: it cannot be watched, or no longer.
    """
    console = Console(highlight=False)
    picture = JobViewModel(job_id)
    with ExitStack() as stack:
        screen: WatchScreen
        if as_json:
            screen = JsonScreen()
        elif console.is_terminal and not console.is_dumb_terminal:
            _prepare(api, picture, after)
            screen = stack.enter_context(LiveScreen(picture, console, labels or {}))
        else:
            screen = PlainScreen(picture, console)
        watch = JobWatch(
            api,
            job_id,
            after=after,
            patience_seconds=patience_seconds,
            tell=screen.tell,
            was_reached=was_reached,
        )
        try:
            state = asyncio.run(follow(watch, screen))
        except KeyboardInterrupt:
            stack.close()
            call = watch_call(api.url, job_id, watch.cursor)
            click.echo(f"headrace: left; the job goes on. Watch on with: {call}", err=True)
            return 130
    if not as_json:
        conclude(api, picture, console)
    return VERDICTS[state]


async def follow(watch: JobWatch, screen: WatchScreen) -> str:
    """Show every frame; returns the job's final state. Raises as `JobWatch.frames` does."""
    async with aclosing(watch.frames()) as frames:  # type: ignore[type-var]
        async for frame in frames:
            screen.show(frame)
            if frame.kind == "end":
                return str(frame.body["state"])
    raise AssertionError("the frames end with the job")


def conclude(api: ApiClient, picture: JobViewModel, console: Console) -> None:
    """The last word: state, error or result, and the files."""
    state = str(picture.end)
    console.print(Text.assemble("the job ", (state, f"bold {STATE_STYLES.get(state, '')}")), soft_wrap=True)
    if picture.error:
        console.print(error_text(picture.error), soft_wrap=True)
    if picture.result is not None:
        console.print(Text.assemble(("result  ", "dim"), short(picture.result, 400)), soft_wrap=True)
    try:
        files = api.get(f"/jobs/{picture.job_id}/files", limit=1000)["items"]
    except (RefusedError, UnreachableError):
        return
    if files:
        console.print(files_table(files))


def _prepare(api: ApiClient, picture: JobViewModel, after: int) -> None:
    """Know the steps before they are heard of; where that fails, watching tells why or does without."""
    try:
        job = api.get(f"/jobs/{picture.job_id}")
        pipeline = api.get(f"/pipelines/{job['pipeline']}")
        if pipeline["version"] == job["version"]:
            picture.expect(step["name"] for step in pipeline["steps"])
        if after:
            picture.recall(api.get(f"/jobs/{picture.job_id}/steps")["items"])
    except (RefusedError, UnreachableError):
        return
