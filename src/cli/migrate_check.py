"""Says which migrations would run and what they lock, without touching a table of the service."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from headrace.adapters.migration_locks import TableLock, find_locks
from headrace.adapters.migrations import list_revisions
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.revisions import Phase, phases_of_revisions
from headrace.cli.migrate import read_state
from headrace.domain.database import DatabaseMisconfiguredError

if TYPE_CHECKING:
    from headrace.cli.migrate import SchemaState

# What waits while a lock is held (PostgreSQL's manual, "Explicit Locking").
_WAITING: Final = {
    "ACCESS EXCLUSIVE": "reads and writes wait",
    "EXCLUSIVE": "writes wait",
    "SHARE ROW EXCLUSIVE": "writes wait",
    "SHARE": "writes wait",
    "SHARE UPDATE EXCLUSIVE": "nothing waits but other maintenance",
    "ROW EXCLUSIVE": "writes to the same rows wait",
    "ROW SHARE": "changes of the same rows wait",
}


class PendingMigration(Struct, frozen=True):
    """A migration that would run. *locks* is None if the role may not find out."""

    revision: str
    phase: Phase
    summary: str
    locks: list[TableLock] | None


class MigrationReport(Struct, frozen=True):
    """What `headrace migrate` has to do. *current* is None for a database without tables."""

    current: str | None
    newest: str
    pending: list[PendingMigration]


def check_migrations(address: PostgresAddress) -> MigrationReport:
    """Return what a migration would do.

    Raises:
        HeadraceError: as `bring_up_to_date` does.
    """
    state = read_state(address)
    locks = _find_locks(address, state)
    summaries = dict(list_revisions())
    phases = phases_of_revisions()
    pending = [
        PendingMigration(name, phases[name], summaries[name], None if locks is None else locks[name])
        for name in state.pending
    ]
    return MigrationReport(state.current, next(iter(phases)), pending)


def _find_locks(address: PostgresAddress, state: "SchemaState") -> dict[str, list[TableLock]] | None:
    if state.current is None:
        return {name: [] for name in state.pending}
    if not state.pending:
        return {}
    try:
        return find_locks(address, state.current, state.pending)
    except DatabaseMisconfiguredError:
        return None


def describe_report(report: MigrationReport) -> Iterator[str]:
    """Yield the lines of a report for people."""
    if not report.pending:
        yield f"nothing to do: the schema is at revision {report.current or report.newest}"
        return
    yield f"{len(report.pending)} to run, from revision {report.current or 'none'} to {report.newest}"
    for migration in report.pending:
        yield f"{migration.revision}  {migration.phase:<4}  {migration.summary}"
        if migration.locks is None:
            yield "        its locks are unknown: the role may not create a scratch schema to find out"
        for lock in migration.locks or ():
            yield f"        {lock.table:<20} {lock.mode:<22} {_describe(lock)}"


def _describe(lock: TableLock) -> str:
    if lock.index is not None:
        return f"reads and writes go on while the index {lock.index} is built"
    waiting = _WAITING[lock.mode]
    if lock.rewrites:
        return f"{waiting} while the table is rewritten"
    return f"{waiting} while all rows are read" if lock.reads_all else f"{waiting} for a moment"
