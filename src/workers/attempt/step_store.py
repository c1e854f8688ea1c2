"""The store of files as the steps of one attempt use it: a call waits for a store that has failed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from headrace.adapters.blob_store import BlobStore, BlobTooLargeError, StoredBlob
from headrace.adapters.retry_pause import RetryPause
from headrace.adapters.store_errors import StoreError, StoreFullError
from headrace.domain.pipelines.context import PermanentError
from headrace.workers.attempt.job_files import JobFiles
from headrace.workers.attempt.step_waits import StepWaits
from headrace.workers.attempt.waiting import StopSignal, wait_first
from headrace.workers.job_threads import call_own

T = TypeVar("T")

# As long as a change is sent again while PostgreSQL refuses it.
_PATIENCE_SECONDS: Final = 300.0
# More files of one job at once would keep the threads for those of other jobs busy.
_MAX_SAVES: Final = 4
# A call that fails so often while the store works for others fails by itself.
_MAX_OWN_FAILURES: Final = 3
_OWN_PAUSE_SECONDS: Final = 5.0


class StepStore:
    """Writes and reads the files of one attempt.

    While the store does not work, a call is not repeated; a small file is written until that succeeds.
    """

    def __init__(self, blobs: BlobStore, files: JobFiles, waits: StepWaits, stop: StopSignal) -> None:
        self._blobs = blobs
        self._files = files
        self._waits = waits
        self._stop = stop
        self._saves = asyncio.Semaphore(_MAX_SAVES)

    async def put(self, key: str, file_id: UUID, name: str, source: bytes | Path) -> StoredBlob:
        """Store bytes or the file at a path for the step run *key*.

        Raises:
            PermanentError: `file_too_large` or `file_invalid`; `storage_full`, if the store has room only for
                smaller files.
            StoreError: the store still cannot be written after five minutes.
        """
        try:
            return await self._patiently(key, lambda: self._put(file_id, name, source), StoreFullError)
        except _OwnFailureError as failure:
            size = await call_own(_size_of, source)
            raise PermanentError(
                f"{name}: the store of files has no room for its {size} bytes", code="storage_full"
            ) from failure.error
        except BlobTooLargeError as error:
            raise PermanentError(f"{name}: {error}", code="file_too_large") from error
        except FileNotFoundError as error:
            raise PermanentError(f"{name}: there is nothing at that path", code="file_invalid") from error

    async def find(self, key: str, file_id: UUID, blob_key: UUID) -> Path:
        """Return the path of stored bytes for the step run *key*, also if they are missing.

        Raises:
            PermanentError: `file_unreadable`, the store works but these bytes cannot be read.
            StoreError: the store still cannot be used after five minutes.
        """
        try:
            found = await self._patiently(
                key, lambda: call_own(self._blobs.find, file_id, blob_key), StoreError
            )
        except _OwnFailureError as failure:
            raise PermanentError(
                f"the bytes of file {file_id} cannot be read: {failure.error}", code="file_unreadable"
            ) from failure.error
        return found or self._blobs.path(file_id, blob_key)

    async def holds(self, file_id: UUID, blob_key: UUID) -> bool:
        """Return whether stored bytes are still there."""
        return await call_own(self._blobs.path(file_id, blob_key).exists)

    async def _put(self, file_id: UUID, name: str, source: bytes | Path) -> StoredBlob:
        async with self._saves, self._files.counting(file_id, name) as count:
            return await call_own(self._blobs.put, file_id, source, count.add)

    async def _patiently(self, key: str, call: Callable[[], Awaitable[T]], own_error: type[StoreError]) -> T:
        """Call, and again for five minutes, each time that the store works after it has failed.

        Raises:
            _OwnFailureError: it still failed with *own_error*, while the store worked three times in a row.
            StoreError: the five minutes are over, or the attempt stops.
        """
        loop = asyncio.get_running_loop()
        pause = RetryPause(min_seconds=_OWN_PAUSE_SECONDS, max_seconds=4 * _OWN_PAUSE_SECONDS)
        ends_at: float | None = None
        own_failures = 0
        while True:
            try:
                return await call()
            except StoreError as error:
                is_own = isinstance(error, own_error)
                if is_own and own_failures >= _MAX_OWN_FAILURES:
                    raise _OwnFailureError(error) from error
                if ends_at is None:
                    ends_at = loop.time() + _PATIENCE_SECONDS
                else:
                    # The store worked a moment ago, so that this time is the step's own.
                    await wait_first(stop=self._stop, seconds=pause.next_seconds())
                works = await self._until_it_works(key, error, ends_at, has_files=own_error is StoreError)
                own_failures = own_failures + 1 if works and is_own else 0

    async def _until_it_works(self, key: str, error: StoreError, ends_at: float, *, has_files: bool) -> bool:
        """Wait until a small file can be written, and return whether that was so at once.

        *has_files*: the folder of the store must exist.

        Raises:
            StoreError: *error*, if it is too late or the attempt stops.
        """
        loop = asyncio.get_running_loop()
        pause = RetryPause(min_seconds=0.2, max_seconds=2.0)
        works_at_once = True
        with self._waits.waiting(key, error):
            while True:
                if loop.time() >= ends_at or self._stop.is_set:
                    raise error
                await wait_first(stop=self._stop, seconds=pause.next_seconds())
                try:
                    async with self._saves:
                        await call_own(self._blobs.probe, has_files)
                except StoreError as newest:
                    error, works_at_once = newest, False
                else:
                    return works_at_once


class _OwnFailureError(Exception):
    """A call fails although the store works."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


def _size_of(source: bytes | Path) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size
