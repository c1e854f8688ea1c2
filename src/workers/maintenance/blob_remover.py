"""Removes the bytes of files whose rows are gone, however they went; all workers share the work."""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from headrace.adapters.blob_store import BlobStore
from headrace.domain.database import TRANSIENT
from headrace.domain.files.removals import BlobRemovals, Removal

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 2.0
_AT_ONCE: Final = 200
_MOST_BATCHES: Final = 50
_AGAIN_AFTER: Final = timedelta(minutes=1)
# The id of what a step saves is derived, as a UUID of version 5: a step that is run again saves under the
# same one, first the bytes and a moment later the row.
_DERIVED: Final = 5
_YOUNG_SECONDS: Final = 10.0


class BlobRemover:
    """Takes what is due, removes the bytes, then forgets it: after a crash in between it is done again."""

    def __init__(self, removals: BlobRemovals, blobs: BlobStore) -> None:
        self._removals = removals
        self._blobs = blobs

    async def run(self) -> None:
        """Remove every other second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
            try:
                await self.remove_due()
            except TRANSIENT as error:
                _log.warning("removal_put_off", reason=error.reason)
            except Exception:  # noqa: BLE001  (jobs run on, and the bytes can wait)
                _log.exception("removal_failed")

    async def remove_due(self) -> int:
        """Remove what is due, in batches; returns how many files are done with.

        What cannot be removed is tried again a minute later.
        """
        count = 0
        for _ in range(_MOST_BATCHES):
            taken = await self._removals.take(_AT_ONCE, again_after=_AGAIN_AFTER)
            gone = await asyncio.to_thread(self._remove, taken)
            await self._removals.done(gone)
            count += len(gone)
            if len(taken) < _AT_ONCE:
                break
        return count

    def _remove(self, taken: Sequence[Removal]) -> list[Removal]:
        return [one for one in taken if one.is_back or self._is_removed(one)]

    def _is_removed(self, one: Removal) -> bool:
        can_come_back = one.file_id.version == _DERIVED
        try:
            return self._blobs.remove(
                one.file_id, written_before=time.time() - _YOUNG_SECONDS if can_come_back else math.inf
            )
        except OSError as error:
            _log.error("blob_not_removed", file_id=str(one.file_id), error=str(error))
            return False
