"""Deletes the bytes of files whose rows were deleted. All workers share this work."""

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.periodic import run_every
from headrace.domain.files.removals import BlobRemovals, Removal

_log = structlog.get_logger(__name__)

_PERIOD_SECONDS: Final = 2.0
_BATCH_SIZE: Final = 200
_MAX_BATCHES: Final = 50
_RETRY_AFTER: Final = timedelta(minutes=1)
# The id of a file that a step saves is a UUIDv5 of its name: a second run of the step saves under the same
# id, first the bytes and a moment later the row. Bytes younger than this may belong to such a run.
_DERIVED_UUID_VERSION: Final = 5
_MIN_AGE_SECONDS: Final = 10.0


class BlobRemover:
    """Deletes the bytes of due removals, then the removals; after a crash in between it does both again."""

    def __init__(self, removals: BlobRemovals, blobs: BlobStore) -> None:
        self._removals = removals
        self._blobs = blobs

    async def run(self) -> None:
        """Remove due bytes every two seconds, until cancelled."""
        await run_every(
            _PERIOD_SECONDS, self.remove_due, put_off_event="removal_put_off", failed_event="removal_failed"
        )

    async def remove_due(self) -> int:
        """Remove due bytes, in batches; return the number of finished removals.

        A removal that fails becomes due again a minute later.
        """
        count = 0
        for _ in range(_MAX_BATCHES):
            batch = await self._removals.claim(_BATCH_SIZE, retry_after=_RETRY_AFTER)
            finished = await asyncio.to_thread(self._remove, batch)
            await self._removals.finish(finished)
            count += len(finished)
            if len(batch) < _BATCH_SIZE:
                break
        return count

    def _remove(self, batch: Sequence[Removal]) -> list[Removal]:
        return [removal for removal in batch if removal.is_back or self._remove_bytes(removal)]

    def _remove_bytes(self, removal: Removal) -> bool:
        """Return whether the bytes are gone."""
        can_come_back = removal.file_id.version == _DERIVED_UUID_VERSION
        written_before = time.time() - _MIN_AGE_SECONDS if can_come_back else math.inf
        try:
            return self._blobs.remove(removal.file_id, written_before=written_before)
        except OSError as error:
            _log.error("blob_not_removed", file_id=str(removal.file_id), error=str(error))
            return False
