"""The page of `headrace status`: numbers, queues, workers with what they run, and the last failures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headrace.cli.live_renderer import STATE_STYLES
from headrace.cli.tables import Fields, error_text, new_table
from headrace.cli.text import one_line
from headrace.cli.times import format_age, format_duration, parse_time

_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")
_MAX_KINDS: Final = 5


class StatusPage(Struct, frozen=True):
    """The answers of the API that the page shows."""

    stats: Fields
    queues: Sequence[Fields]
    workers: Sequence[Fields]
    running: Sequence[Fields]
    failed: Sequence[Fields]
    is_failed_cut: bool
    """Whether the list of failures looked only at some jobs."""
    now: datetime

    def render(self, url: str) -> RenderableType:
        """Return the page as something that rich prints."""
        jobs = {job["id"]: job["pipeline"] for job in self.running}
        nobody = Text("no live workers; start one with: headrace worker", style="yellow")
        nothing = Text("no queues: no worker runs, and no job is queued", style="dim")
        none_failed = Text("none of the newest jobs" if self.is_failed_cut else "none", style="dim")
        return Group(
            Text.assemble(("headrace", "bold"), f" at {url}"),
            Text(),
            numbers_grid(self.stats),
            *_section("queues", queues_table(self.queues, self.now) if self.queues else nothing),
            *_section("workers", workers_table(self.workers, jobs, self.now) if self.workers else nobody),
            *_section("last failures", failures_list(self.failed, self.now) if self.failed else none_failed),
        )


def numbers_grid(stats: Fields) -> Table:
    """Build the lines of counts, rates and times."""
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    counts = stats["counts"]
    states = [
        Text(_count(counts, state) + f" {state}", style=STATE_STYLES[state] if counts[state] else "dim")
        for state in _STATES
    ]
    grid.add_row("jobs", Text(" · ").join(states))
    measured = stats["measured_seconds"]
    window = format_duration(measured).removesuffix(" 0 min").removesuffix(" 0 h").removesuffix(" 0 s")
    ended = f"{stats['ended_jobs']:,} ended, {stats['finished_per_minute']:,.1f} a minute"
    failed = f"{stats['failed_per_minute']:,.1f} failed a minute"
    grid.add_row(f"last {window}", Text(" · ").join([Text(ended), Text(failed)]))
    for name, field in (("start after", "start_latency_seconds"), ("took", "duration_seconds")):
        if (shares := stats[field]) is not None:
            parts = [f"{share} {format_duration(seconds)}" for share, seconds in shares.items()]
            grid.add_row(name, " · ".join(parts))
    return grid


def queues_table(queues: Sequence[Fields], now: datetime) -> Table:
    """Build the table of queues."""
    table = _narrow(new_table("queue", "queued", "oldest due", "running", "workers"))
    for column in (table.columns[1], table.columns[3], table.columns[4]):
        column.justify = "right"
        column.no_wrap = True
    for queue in queues:
        is_unserved = queue["queued"] and not queue["workers"]
        table.add_row(
            Text(one_line(queue["name"]), style="bold"),
            _count(queue, "queued"),
            format_age(parse_time(queue["oldest_due_at"]), now),
            f"{queue['running']:,}",
            Text(str(queue["workers"]), style="yellow" if is_unserved else ""),
        )
    return table


def workers_table(workers: Sequence[Fields], jobs: Mapping[str, str], now: datetime) -> Table:
    """Build the table of workers. *jobs*: the pipelines of running jobs, by id, as far as they are known."""
    columns = ["worker", "queues", "jobs", "up", *(["runs"] if jobs else [])]
    table = _narrow(new_table(*columns))
    table.columns[2].justify = "right"
    table.columns[2].no_wrap = table.columns[3].no_wrap = True
    for worker in workers:
        runs = [Text(_kinds(worker["running"], jobs), style="cyan")] if jobs else []
        table.add_row(
            Text(one_line(worker["id"]), style="bold"),
            Text(one_line(", ".join(worker["queues"]))),
            f"{len(worker['running'])}/{worker['concurrency']}",
            format_age(parse_time(worker["started_at"]), now).removesuffix(" ago"),
            *runs,
        )
    return table


def failures_list(jobs: Sequence[Fields], now: datetime) -> RenderableType:
    """Build the lines of the jobs that failed last: the id in one piece, and the error below it."""
    lines: list[RenderableType] = []
    for job in jobs:
        age = format_age(parse_time(job["finished_at"]), now)
        lines.append(Text.assemble((job["id"], "dim"), "  ", (job["pipeline"], "bold"), f", {age}"))
        if job["error"]:
            lines.append(Padding(error_text(job["error"]), (0, 0, 0, 2)))
    return Group(*lines)


def _narrow(table: Table) -> Table:
    """Let the columns of *table* stand closer together, for narrow terminals."""
    table.padding = (0, 2, 0, 0)
    return table


def _section(title: str, content: RenderableType) -> tuple[RenderableType, ...]:
    return Text(), Text(title, style="bold"), content


def _count(fields: Mapping[str, Any], name: str) -> str:
    return f"{'~' if fields.get(f'{name}_is_estimate') else ''}{fields[name]:,}"


def _kinds(running: Sequence[str], jobs: Mapping[str, str]) -> str:
    """Return the pipelines that a worker runs, and how often, the most frequent first."""
    kinds = Counter(jobs.get(job_id, "other") for job_id in running).most_common()
    shown = [f"{count} {name}" for name, count in kinds[:_MAX_KINDS]]
    return ", ".join([*shown, *(["…"] if len(kinds) > _MAX_KINDS else [])])
