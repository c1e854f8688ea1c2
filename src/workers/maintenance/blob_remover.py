"""Deletes the bytes that no row names, and looks for such bytes. All workers share this work."""

import asyncio
import math
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.blob_survey import BlobSurvey
from headrace.adapters.periodic import run_every
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError
from headrace.domain.files.removals import BlobRemovals, Removal
from headrace.workers.maintenance.chore_report import ChoreReport, RunOnce

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 2.0
_BATCH_SIZE: Final = 200
_MAX_BATCHES: Final = 50
_RETRY_AFTER: Final = timedelta(minutes=1)
# What could not be removed is due again by then, so that no run in between has nothing to do and succeeds.
_AFTER_FAILURE_SECONDS: Final = 90.0
MIN_AGE_SECONDS: Final = 600.0
"""Younger bytes may belong to a write under way: their row follows, within minutes if PostgreSQL is away.

The age is measured with the clock of the store, because machines' clocks differ.
"""
_SEARCH_SECONDS: Final = 3600.0
# Each hour a worker searches the next 11 of 256 shards, so one worker gets through all of them in a day.
_SEARCHED_SHARDS: Final = 11
_FIRST_SEARCH_SECONDS: Final = (60.0, 300.0)
_SEARCH: Final = "blob_search"
_ABANDONED_SECONDS: Final = 86_400.0
UNNAMED_AFTER: Final = timedelta(hours=24)
"""Bytes that a search finds are removed so long after it, so that an operator can look into their cause."""


UNFINISHED_WRITES: Final = "unfinished_writes"
"""Under this name the parts of files are counted whose writes have not ended."""


class BlobsNotRemovedError(HeadraceError):
    """The store has refused to remove the bytes of *count* files, for example because it is read-only."""

    def __init__(self, count: int, reason: OSError) -> None:
        files = "1 file" if count == 1 else f"{count or 'any'} files"
        super().__init__(f"the bytes of {files} could not be removed: {reason}")


class BlobRemover:
    """Deletes the bytes of due removals, then the removals; after a crash in between it does both again.

    Only this class removes bytes that a row may have named, and only after it has looked at the rows.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        report: ChoreReport | None = None,
    ) -> None:
        self._removals = BlobRemovals(database)
        self._chores = ChoreRepository(database)
        self._survey = BlobSurvey(database, blobs)
        self._blobs = blobs
        self._report = report
        self._has_failed = False

    async def run(self) -> None:
        """Remove due bytes every two seconds, and search for others every hour, until cancelled.

        The first search follows minutes after the start.
        """
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._run_removal())
            loops.create_task(self._run_search())

    async def _run_removal(self) -> None:
        chore: RunOnce = self.remove_due
        if self._report is not None:
            chore = self._report.reporting("blob_removals", chore)

        async def remove() -> int:
            try:
                return await chore()
            except BlobsNotRemovedError as error:
                _log.warning("removals_refused", reason=str(error))
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
                return 0

        await run_every(
            _PERIOD_SECONDS, remove, put_off_event="removal_put_off", failed_event="removal_failed"
        )

    async def _run_search(self) -> None:
        chore: RunOnce = self.search
        if self._report is not None:
            chore = self._report.reporting(_SEARCH, chore)
        await asyncio.sleep(random.uniform(*_FIRST_SEARCH_SECONDS))  # noqa: S311  (no secret)
        await run_every(
            _SEARCH_SECONDS,
            chore,
            waits_first=False,
            put_off_event="search_put_off",
            failed_event="search_failed",
        )

    async def search(self, shard_count: int = _SEARCHED_SHARDS) -> int:
        """Mark the bytes without a row in the next shards of the store; return how many there are.

        They are removed a day later, if there is still no row then.

        The position is shared by all workers and outlives them. A shard that fails does not stop the others.
        """
        now = await asyncio.to_thread(self._blobs.present)
        await asyncio.to_thread(self._blobs.remove_abandoned, written_before=now - _ABANDONED_SECONDS)
        left = await asyncio.to_thread(self._blobs.unfinished)
        await self._chores.store_findings(UNFINISHED_WRITES, left)
        shards = await asyncio.to_thread(self._blobs.shards)
        last = await self._chores.load_position(_SEARCH) or ""
        shards.sort(key=lambda shard: (shard.name <= last, shard.name))
        count = 0
        failures: list[OSError] = []
        for shard in shards[:shard_count]:
            await self._chores.store_position(_SEARCH, shard.name)
            try:
                count += await self._search_shard(shard, written_before=now - MIN_AGE_SECONDS)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return count

    async def _search_shard(self, shard: Path, *, written_before: float) -> int:
        unnamed = await self._survey.find_unnamed(shard, written_before=written_before)
        if unnamed:
            await self._removals.mark((version.file_id for version in unnamed), due_after=UNNAMED_AFTER)
        return len(unnamed)

    async def remove_due(self) -> int:
        """Remove due bytes, in batches; return the number of finished removals.

        A removal that fails becomes due again a minute later, in any worker. So a run after a failure checks
        the store even if nothing is due.

        Raises:
            BlobsNotRemovedError: some could not be removed; the others were.
        """
        count = 0
        failures: list[OSError] = []
        written_before = -math.inf
        for batch_no in range(_MAX_BATCHES):
            batch = await self._removals.claim(_BATCH_SIZE, retry_after=_RETRY_AFTER)
            if batch_no == 0 and (batch or self._has_failed):
                try:
                    written_before = await asyncio.to_thread(self._blobs.present) - MIN_AGE_SECONDS
                except OSError as error:
                    self._has_failed = True
                    raise BlobsNotRemovedError(len(batch), error) from error
            finished = await asyncio.to_thread(self._remove, batch, written_before, failures)
            await self._removals.finish(finished)
            count += len(finished)
            if len(batch) < _BATCH_SIZE:
                break
        self._has_failed = bool(failures)
        if failures:
            raise BlobsNotRemovedError(len(failures), failures[0])
        return count

    def _remove(
        self, batch: Sequence[Removal], written_before: float, failures: list[OSError]
    ) -> list[Removal]:
        """Return the removals of which all bytes are gone that no row names; add errors to *failures*."""
        finished: list[Removal] = []
        for removal in batch:
            try:
                if self._blobs.remove(removal.file_id, keep=removal.kept, written_before=written_before):
                    finished.append(removal)
            except OSError as error:
                failures.append(error)
        return finished
