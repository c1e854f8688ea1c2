"""The checks of `doctor` that read tables: chores, partitions, large tables, stray events, pipelines."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from headrace.adapters.servers import Finding
from headrace.domain.chores.repository import ChoreRepository, FailingChore
from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError
from headrace.domain.events.partition_mover import MAX_MOVED_ROWS
from headrace.domain.events.partitions import missing_partitions, months_from, stray_id_limit
from headrace.domain.pipelines.loading import load_all
from headrace.domain.pipelines.registry import Registrar
from headrace.domain.retention.installation import resolve_terms
from headrace.domain.retention.kept_partitions import find_kept_partitions
from headrace.domain.retention.table_sizes import find_large_tables
from headrace.settings import Settings

_MAX_COUNT: Final = 100_000
# This month and the next: workers create them months ahead.
_DUE_MONTHS: Final = 2
_COUNT_STRAYS: Final = """
SELECT count(*)::int AS strays FROM (SELECT 1 FROM job_changes_rest WHERE job_id < $2 LIMIT $1) AS found
"""


async def check_upkeep(database: Database, settings: Settings) -> list[Finding]:
    """Return a finding for each failing chore, due partition and refused pipeline, and for stray events."""
    failing = await ChoreRepository(database).fetch_failing()
    now = datetime.now(UTC)
    due = await missing_partitions(database, months_from(now, _DUE_MONTHS))
    limit = stray_id_limit(now)
    strays = (await database.fetch(_COUNT_STRAYS, _MAX_COUNT, limit))[0]["strays"]
    return [
        *_chore_findings(failing),
        *_partition_findings(due),
        *await _kept_partition_findings(database, settings, now),
        *await _large_table_findings(database, settings),
        *_stray_findings(strays),
        *await _refusals(database, settings),
    ]


def _chore_findings(failing: Sequence[FailingChore]) -> Iterator[Finding]:
    if not failing:
        yield Finding("chores", True, "none fails")
    for chore in failing:
        last = f"{chore.succeeded_at:%Y-%m-%d %H:%M}" if chore.succeeded_at else "never"
        where = f" in worker {chore.worker}" if chore.worker else ""
        text = (
            f"{chore.name} failed{where} at {chore.failed_at:%Y-%m-%d %H:%M} (last success: {last}):"
            f" {chore.error}"
        )
        yield Finding("chores", False, text)


def _partition_findings(due: Sequence[datetime]) -> Iterator[Finding]:
    if due:
        names = ", ".join(f"{month:%Y-%m}" for month in due)
        text = f"no partition for {names}: a worker creates it within the hour, `headrace migrate` at once"
        yield Finding("events", False, text)


async def _kept_partition_findings(database: Database, settings: Settings, now: datetime) -> list[Finding]:
    """Name the partitions of the event log that a few jobs keep from being dropped."""
    terms = await resolve_terms(database, settings.kept)
    kept = await find_kept_partitions(database, terms, now)
    return [Finding("events", True, str(partition), is_note=True) for partition in kept]


async def _large_table_findings(database: Database, settings: Settings) -> list[Finding]:
    tables = await find_large_tables(database, settings.kept)
    return [Finding("retention", True, str(table), is_note=True) for table in tables]


def _stray_findings(strays: int) -> Iterator[Finding]:
    if strays:
        count = f"{strays} or more" if strays == _MAX_COUNT else str(strays)
        text = (
            f"{count} rows are in job_changes_rest: a clock was wrong; workers move up to {MAX_MOVED_ROWS} of"
            " a month within the hour, and `headrace migrate` any number"
        )
        yield Finding("events", False, text)


async def _refusals(database: Database, settings: Settings) -> list[Finding]:
    try:
        pipelines = load_all(settings.pipelines, settings.bundled_pipelines).pipelines.values()
    except HeadraceError:
        return []  # reported with the pipelines
    registrar = Registrar(database, pipelines, may_replace=settings.env == "local")
    return [Finding("pipelines", False, str(refusal)) for refusal in await registrar.find_refusals()]
