"""Tables of presets, tags and keys, and the lines of events."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.table import Table
from rich.text import Text

from headrace.cli.step_lines import step_key
from headrace.cli.tables import new_table, short
from headrace.cli.text import one_line
from headrace.cli.times import format_age, format_clock, parse_time

Fields = dict[str, Any]

_HEADER: Final = ("type", "job_id", "seq", "at", "step", "index")


def presets_table(presets: Sequence[Fields]) -> Table:
    """Build the table of presets, with the ids for submissions."""
    table = new_table("title", "pipeline", "params", "tags", "id")
    table.columns[-1].no_wrap = True
    for preset in presets:
        table.add_row(
            Text(one_line(preset["title"]), style="bold"),
            Text(preset["pipeline"]),
            Text("large" if preset.get("params_omitted") else short(preset["params"], 80), style="cyan"),
            Text(one_line(", ".join(preset["tags"]))),
            Text(preset["id"], style="dim"),
        )
    return table


def tags_table(tags: Sequence[Fields]) -> Table:
    """Build the table of tags, with how many jobs and presets they mark."""
    table = new_table("name", "jobs", "presets", "id")
    table.columns[1].justify = table.columns[2].justify = "right"
    for tag in tags:
        table.add_row(
            Text(one_line(tag["name"]), style="bold"),
            str(tag["jobs"]),
            str(tag["presets"]),
            Text(tag["id"], style="dim"),
        )
    return table


def keys_table(keys: Sequence[Fields]) -> Table:
    """Build the table of API keys without their texts."""
    now = datetime.now(UTC)
    table = new_table("name", "begins with", "scopes", "last used", "expires", "id")
    for key in keys:
        table.add_row(
            Text(one_line(key["name"]), style="bold"),
            key["prefix"],
            Text(" ".join(key["scopes"])),
            format_age(parse_time(key["last_used_at"]), now) or "never",
            format_age(parse_time(key["expires_at"]), now) or "never",
            Text(key["id"], style="dim"),
        )
    return table


def event_line(event: Fields) -> Text:
    """Return the line of an event: its number, its time, its type, its step and its other fields."""
    step = step_key(event["step"], event.get("index")) if event.get("step") else ""
    rest = {name: value for name, value in event.items() if name not in _HEADER}
    if event["type"] == "log":
        level, message = rest.pop("level"), rest.pop("message")
        details = f"{level}: {message}" + _pairs(rest.pop("fields") or {})
    else:
        details = _pairs(rest).lstrip()
    return Text.assemble(
        (f"{event['seq']:>6}  ", "bold"),
        (f"{format_clock(event['at'])}  ", "dim"),
        f"{event['type']:<20} ",
        (f"{step} " if step else "", "cyan"),
        one_line(details),
    )


def _pairs(fields: Fields) -> str:
    return "".join(
        f" {name}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in fields.items()
    )
