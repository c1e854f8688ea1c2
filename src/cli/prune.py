"""Prunes the database of the service from the command line, with the pruner of the workers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from headrace.adapters.database import StatementPool
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.schema import require_schema
from headrace.cli.admin import find_database
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner

# Counting millions of rows takes its time; a statement that removes some does not.
_COUNT_SECONDS: Final = 600.0
_LOCK_TIMEOUT: Final = timedelta(milliseconds=100)
_MAX_TRIES: Final = 90
_TRY_SECONDS: Final = 1.0


class PrunedElsewhereError(HeadraceError):
    """A worker prunes for longer than this command waits."""

    def __init__(self) -> None:
        super().__init__("a worker prunes already, and has a lot to do: try again later")


class PruneFailedError(HeadraceError):
    """Some rules could not be run."""

    def __init__(self, failures: dict[str, str]) -> None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        super().__init__(f"not everything was pruned: {reasons}")


def count_prunable(settings: Settings, data_dir: Path | None) -> dict[str, int]:
    """Return how many rows of each kind are past their term.

    Raises:
        HeadraceError: the database is not known, or cannot be used.
    """

    async def count(pruner: Pruner) -> dict[str, int]:
        return await pruner.count()

    return _run(settings, data_dir, count)


def prune_now(settings: Settings, data_dir: Path | None) -> dict[str, int]:
    """Remove what is past its term, and return how many rows of each kind. Waits while a worker prunes.

    Raises:
        HeadraceError: the database is not known or cannot be used, or a rule failed.
    """
    return _run(settings, data_dir, _prune)


async def _prune(pruner: Pruner) -> dict[str, int]:
    for _ in range(_MAX_TRIES):
        removed = await pruner.run_now()
        if removed is not None:
            if pruner.failures:
                raise PruneFailedError(pruner.failures)
            return {rule.name: removed[rule.name] for rule in await pruner.rules()}
        await asyncio.sleep(_TRY_SECONDS)
    raise PrunedElsewhereError


def _run(
    settings: Settings, data_dir: Path | None, act: Callable[[Pruner], Awaitable[dict[str, int]]]
) -> dict[str, int]:
    address = find_database(settings, data_dir)
    holder = f"{socket.gethostname()[:40]}-{os.getpid()}-prune"

    async def run() -> dict[str, int]:
        async with _open_database(address) as database:
            return await act(Pruner(database, settings.kept, holder, pace=PrunePace()))

    with translate_refusals():
        return asyncio.run(run())


@asynccontextmanager
async def _open_database(address: PostgresAddress) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(
        address, size=1, answer_seconds=_COUNT_SECONDS, lock_timeout=_LOCK_TIMEOUT
    )
    try:
        await require_schema(pool)
        yield pool
    finally:
        await pool.close()
