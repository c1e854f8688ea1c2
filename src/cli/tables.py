"""Lists of pipelines and jobs, and one job in full."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.live_renderer import STATE_STYLES
from headrace.cli.text import plain, size_of
from headrace.cli.times import ago, between, moment

Fields = dict[str, Any]


def pipelines_table(pipelines: Sequence[Fields]) -> Table:
    """What can be submitted: name, version, parameters, description."""
    table = _table("name", "version", "parameters", "what it does")
    for one in pipelines:
        params = Text(_params(one["params_schema"]), style="cyan")
        table.add_row(
            Text(one["name"], style="bold"), str(one["version"]), params, Text(plain(one["description"]))
        )
    return table


def jobs_table(jobs: Sequence[Fields], now: datetime) -> Table:
    """Jobs as the API lists them, newest first."""
    table = _table("id", "pipeline", "state", "done", "created", "took")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    table.columns[3].justify = "right"
    for job in jobs:
        start, end = moment(job["started_at"]), moment(job["finished_at"])
        table.add_row(
            Text(job["id"], style="dim"),
            Text(job["pipeline"], style="bold"),
            state_text(job),
            f"{job['progress']:.0%}",
            ago(moment(job["created_at"]), now),
            between(start, end, now),
        )
    return table


def show_job(
    console: Console, job: Fields, steps: Sequence[Fields], files: Sequence[Fields], now: datetime
) -> None:
    """Everything that is known of a job."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    start, end = moment(job["started_at"]), moment(job["finished_at"])
    grid.add_row("job", Text(job["id"], style="bold"))
    grid.add_row("pipeline", f"{job['pipeline']} version {job['version']}")
    grid.add_row("state", state_text(job))
    grid.add_row("done", f"{job['progress']:.0%}, attempt {job['attempt']}, {job['event_seq']} events")
    grid.add_row("created", f"{ago(moment(job['created_at']), now)}  ({job['created_at']})")
    if start is not None:
        grid.add_row("took", between(start, end, now))
    grid.add_row("params", Text(short(job["params"])))
    if job["tags"]:
        grid.add_row("tags", Text(plain(", ".join(job["tags"]))))
    if job["error"]:
        grid.add_row("error", error_text(job["error"]))
    if job["result"] is not None:
        grid.add_row("result", Text(short(job["result"])))
    console.print(grid)
    if steps:
        console.print(Text("\nsteps", style="bold"))
        console.print(_steps_table(steps, now))
    if files:
        console.print(Text("\nfiles", style="bold"))
        console.print(files_table(files))


def files_table(files: Sequence[Fields]) -> Table:
    """Files, with the ids by which they are fetched."""
    table = _table("name", "size", "type", "id")
    table.columns[1].justify = "right"
    table.columns[3].no_wrap = True
    for file in files:
        table.add_row(
            Text(plain(file["name"])),
            size_of(file["size"]),
            Text(file["media_type"]),
            Text(file["id"], style="dim"),
        )
    return table


def state_text(job: Fields) -> Text:
    """The state in its colour, and why a queued job waits."""
    text = Text(job["state"], style=STATE_STYLES.get(job["state"], ""))
    if job.get("waiting_for"):
        text.append(f" ({job['waiting_for'].replace('_', ' ')})", style="dim")
    elif job.get("cancel_requested_at") and job["state"] == "running":
        text.append(" (asked to stop)", style="dim")
    return text


def error_text(error: Fields) -> Text:
    """Code, message and, where one failed, the step."""
    where = f" in {error['step']}" if error.get("step") else ""
    return Text.assemble((f"{error['code']}{where}: ", "red"), plain(error["message"]))


def _steps_table(steps: Sequence[Fields], now: datetime) -> Table:
    table = _table("step", "state", "done", "took", "")
    table.columns[2].justify = table.columns[3].justify = "right"
    for step in steps:
        name = step["name"] if step["index"] is None else f"{step['name']}[{step['index']}]"
        error = step["error"]
        start, end = moment(step["started_at"]), moment(step["finished_at"])
        table.add_row(
            Text(name),
            Text(step["state"], style=STATE_STYLES.get(step["state"], "")),
            f"{step['progress']:.0%}",
            between(start, end, now),
            Text(
                plain(f"{error['code']}: {error['message']}" if error else step["message"] or ""), style="dim"
            ),
        )
    return table


def _params(schema: Fields) -> str:
    """The names of the parameters; those without a default are marked."""
    # msgspec puts the struct itself behind a reference.
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found = schema.get("$defs", {}).get(name, schema)
    required = found.get("required", ())
    return ", ".join(f"{one}*" if one in required else one for one in found.get("properties", {}))


def short(value: Any, longest: int = 2_000) -> str:
    """*value* as JSON, cut where nobody would read on."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
