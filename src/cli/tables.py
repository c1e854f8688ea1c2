"""Tables of pipelines, jobs, steps and files, and the full view of one job."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.live_renderer import STATE_STYLES
from headrace.cli.text import format_size, one_line
from headrace.cli.times import format_age, format_span, parse_time

Fields = dict[str, Any]


def pipelines_table(pipelines: Sequence[Fields]) -> Table:
    """Build the table of pipelines: name, version, whether a worker serves it, parameters, description."""
    table = new_table("name", "version", "served", "parameters", "description")
    for pipeline in pipelines:
        params = Text(one_line(_param_names(pipeline["params_schema"])), style="cyan")
        table.add_row(
            Text(pipeline["name"], style="bold"),
            str(pipeline["version"]),
            Text("yes") if pipeline["served"] else Text("no worker", style="yellow"),
            params,
            Text(" ".join(one_line(line) for line in pipeline["description"].split("\n"))),
        )
    return table


def jobs_table(jobs: Sequence[Fields], now: datetime) -> Table:
    """Build the table of jobs, in the order of the API."""
    table = new_table("id", "pipeline", "state", "done", "created", "took")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    table.columns[3].justify = "right"
    for job in jobs:
        start, end = parse_time(job["started_at"]), parse_time(job["finished_at"])
        table.add_row(
            Text(job["id"], style="dim"),
            Text(job["pipeline"], style="bold"),
            state_text(job),
            f"{job['progress']:.0%}",
            format_age(parse_time(job["created_at"]), now),
            format_span(start, end, now),
        )
    return table


def show_job(
    console: Console, job: Fields, steps: Sequence[Fields], files: Sequence[Fields], now: datetime
) -> None:
    """Print a job with its steps and files."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    start, end = parse_time(job["started_at"]), parse_time(job["finished_at"])
    grid.add_row("job", Text(job["id"], style="bold"))
    grid.add_row("pipeline", f"{job['pipeline']} version {job['version']}")
    grid.add_row("state", state_text(job))
    grid.add_row("done", f"{job['progress']:.0%}, attempt {job['attempt']}, {job['event_seq']} events")
    grid.add_row("created", f"{format_age(parse_time(job['created_at']), now)}  ({job['created_at']})")
    if start is not None:
        grid.add_row("took", format_span(start, end, now))
    grid.add_row("params", Text(short(job["params"])))
    if job["tags"]:
        grid.add_row("tags", Text(one_line(", ".join(job["tags"]))))
    if job["error"]:
        grid.add_row("error", error_text(job["error"]))
    if job["result"] is not None:
        grid.add_row("result", Text(short(job["result"])))
    console.print(grid)
    if steps:
        console.print(Text("\nsteps", style="bold"))
        console.print(steps_table(steps, now))
    if files:
        console.print(Text("\nfiles", style="bold"))
        console.print(files_table(files))


def files_table(files: Sequence[Fields]) -> Table:
    """Build the table of files, with the ids for downloads."""
    table = new_table("name", "size", "type", "id")
    table.columns[1].justify = "right"
    table.columns[3].no_wrap = True
    for file in files:
        table.add_row(
            Text(one_line(file["name"])),
            format_size(file["size"]),
            Text(one_line(file["media_type"])),
            Text(file["id"], style="dim"),
        )
    return table


def state_text(job: Fields) -> Text:
    """Return the state in its colour, with the reason why a queued job waits."""
    text = Text(job["state"], style=STATE_STYLES.get(job["state"], ""))
    if job.get("waiting_for"):
        text.append(f" ({job['waiting_for'].replace('_', ' ')})", style="dim")
    elif job.get("cancel_requested_at") and job["state"] == "running":
        text.append(" (cancel requested)", style="dim")
    return text


def error_text(error: Fields) -> Text:
    """Return code and message of an error, and the step that failed, if any."""
    where = f" in {error['step']}" if error.get("step") else ""
    return Text.assemble((f"{error['code']}{where}: ", "red"), one_line(error["message"]))


def steps_table(steps: Sequence[Fields], now: datetime) -> Table:
    """Build the table of step runs, in the order of the pipeline."""
    table = new_table("step", "state", "done", "took", "")
    table.columns[2].justify = table.columns[3].justify = "right"
    for step in steps:
        name = step["name"] if step["index"] is None else f"{step['name']}[{step['index']}]"
        error = step["error"]
        start, end = parse_time(step["started_at"]), parse_time(step["finished_at"])
        table.add_row(
            Text(name),
            Text(step["state"], style=STATE_STYLES.get(step["state"], "")),
            f"{step['progress']:.0%}",
            format_span(start, end, now),
            Text(
                one_line(f"{error['code']}: {error['message']}" if error else step["message"] or ""),
                style="dim",
            ),
        )
    return table


def _param_names(schema: Fields) -> str:
    """Return the names of the parameters; required ones end in `*`."""
    # msgspec puts the schema of the struct behind a reference.
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    definition = schema.get("$defs", {}).get(name, schema)
    required = definition.get("required", ())
    properties = definition.get("properties", {})
    return ", ".join(f"{param}*" if param in required else param for param in properties)


def short(value: Any, max_chars: int = 2_000) -> str:
    """Return *value* as JSON of at most *max_chars* characters."""
    text = one_line(msgspec.json.encode(value).decode())
    return text if len(text) <= max_chars else f"{text[:max_chars]}… ({len(text)} characters)"


def new_table(*columns: str) -> Table:
    """Return an empty table in the style of the command."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
