"""The table of everything that grows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from headrace.cli.tables import new_table
from headrace.cli.text import format_size
from headrace.cli.times import format_age, parse_time

Fields = dict[str, Any]


def retention_table(items: Sequence[Fields], now: datetime) -> Table:
    """Build the table, with a ~ before numbers that are estimates."""
    table = new_table("what", "kept", "because of", "rows", "size", "oldest", "next run")
    for place in (3, 4):
        table.columns[place].justify = "right"
    for item in items:
        mark = "~" if item["is_estimate"] else ""
        table.add_row(
            Text(item["name"].replace("_", " "), style="bold"),
            item["keep"],
            item["because"],
            f"{mark}{item['rows']:,}",
            mark + format_size(item["bytes"]),
            format_age(parse_time(item["oldest_at"]), now),
            format_age(parse_time(item["next_run_at"]), now),
        )
    return table
