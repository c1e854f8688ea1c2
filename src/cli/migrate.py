"""Upgrades the database: its schema, and the partitions for the events of the next months."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from msgspec import Struct

from headrace.adapters.postgres_url import PostgresAddress
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.errors import HeadraceError

# Copying and moving millions of events takes minutes.
_MOVE_SECONDS: Final = 3600.0


class PostMigrationError(HeadraceError):
    """A migration that this release needs may run only after all older processes have ended."""

    def __init__(self, revision: str, sessions: int) -> None:
        super().__init__(
            f"revision {revision} would break older processes, and Headrace is connected (sessions:"
            f" {sessions}): stop all processes of older releases, then run: headrace migrate --post"
        )


class Upgrade(Struct, frozen=True):
    """What an upgrade has left. *waiting*: migrations that run once all older processes have ended."""

    waiting: list[str] = []


def bring_up_to_date(address: PostgresAddress | str, *, is_post: bool = False) -> Upgrade:
    """Upgrade the schema. A second run changes nothing, nor does a run on a newer schema that fits.

    Migrations from the first one with `post_` on wait while processes of the service are connected, unless
    *is_post*: then all of these are of this release.

    Raises:
        SchemaAheadError: the schema is newer, and does not work with this release.
        UnfinishedRestoreError: a restore into the schema has not finished.
        PostMigrationError: a migration that waits is needed by this release.
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: PostgreSQL refuses the login.
    """
    from headrace.adapters.migrations import upgrade

    with translate_refusals():
        state = asyncio.run(_fetch_state(address))
        if state.is_newer:
            return Upgrade()
        waiting = [] if is_post or not state.sessions else state.waiting
        runs = [name for name in state.pending if name not in waiting]
        if runs or not waiting:
            upgrade(address, runs[-1] if waiting else "head")
        if waiting and state.requires_waiting:
            raise PostMigrationError(waiting[0], state.sessions)
        asyncio.run(_make_partitions(address))
    return Upgrade(waiting)


def describe_revisions(address: PostgresAddress | str) -> list[str]:
    """Return a line for each revision, the newest first; `>` marks the current one of the database.

    Raises:
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: PostgreSQL refuses the login.
    """
    from headrace.adapters.migrations import list_revisions

    with translate_refusals():
        current = asyncio.run(_fetch_state(address)).current
    return [f"{'>' if name == current else ' '} {name}  {summary}" for name, summary in list_revisions()]


class SchemaState(Struct, frozen=True):
    """Where the schema of a database stands.

    *pending*: the revisions that it lacks, oldest first · *sessions*: connections of the service's processes,
    counted only if a pending revision waits for their end.
    """

    current: str | None
    is_newer: bool
    pending: list[str]
    sessions: int

    @property
    def waiting(self) -> list[str]:
        """The pending revisions from the first one with `post_` on; none of an empty database waits."""
        from headrace.adapters.revisions import phases_of_revisions

        phases = phases_of_revisions()
        first = next((place for place, name in enumerate(self.pending) if phases[name] == "post"), None)
        return [] if first is None or self.current is None else self.pending[first:]

    @property
    def requires_waiting(self) -> bool:
        """Whether this release does not work before the waiting revisions have run."""
        from headrace.adapters.revisions import phases_of_revisions

        phases = phases_of_revisions()
        return any(phases[name] == "pre" for name in self.waiting)


def read_state(address: PostgresAddress | str) -> SchemaState:
    """Return where the schema stands.

    Raises:
        SchemaAheadError: the schema is newer, and does not work with this release.
        UnfinishedRestoreError: a restore into the schema has not finished.
        DatabaseAwayError: PostgreSQL cannot be reached.
        DatabaseRefusedError: PostgreSQL refuses the login.
    """
    with translate_refusals():
        return asyncio.run(_fetch_state(address))


async def _fetch_state(address: PostgresAddress | str) -> SchemaState:
    from headrace.adapters.database import StatementPool
    from headrace.adapters.other_sessions import count_lasting, count_other_sessions
    from headrace.adapters.revisions import current_revision, known_revisions, phases_of_revisions
    from headrace.adapters.schema import require_finished_restore, require_schema

    pool = await StatementPool.open(address, size=1)
    try:
        current = await current_revision(pool)
        await require_finished_restore(pool)
        is_newer = current is not None and current not in known_revisions()
        if is_newer:
            await require_schema(pool)
        pending = [] if is_newer else _after(current, known_revisions())
        # Nothing else depends on them, so only what waits for their end waits here.
        is_post = any(phases_of_revisions()[name] == "post" for name in pending)
        sessions = await count_lasting(partial(count_other_sessions, pool)) if is_post else 0
    finally:
        await pool.close()
    return SchemaState(current, is_newer, pending, sessions)


def _after(current: str | None, known: Sequence[str]) -> list[str]:
    """Return the revisions after *current*, oldest first."""
    ordered = list(reversed(known))
    return ordered if current is None else ordered[ordered.index(current) + 1 :]


async def _make_partitions(address: PostgresAddress | str) -> None:
    """Create the partitions, and move any number of events out of the default partition."""
    from headrace.adapters.database import StatementPool
    from headrace.domain.events.partitions import create_partitions

    pool = await StatementPool.open(address, size=1, answer_seconds=_MOVE_SECONDS)
    try:
        await create_partitions(pool, datetime.now(UTC))
    finally:
        await pool.close()
