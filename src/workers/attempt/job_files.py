"""Counts the bytes of a job's files while they are stored, and refuses those that exceed a limit."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from msgspec import Struct

from headrace.domain.database import Database
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.pipelines.context import JobCancelledError, PermanentError
from headrace.domain.quotas.quotas import Quotas, StorageQuotaExceededError
from headrace.domain.quotas.usage import OwnerUsage

_SIZES: Final = "SELECT id, size FROM files WHERE job_id = $1"


class FileLimits(Struct, frozen=True):
    """How many bytes the files of a job may have together, and those of its owner (0: no limit)."""

    job: int
    owner: int = 0


class JobFiles:
    """The sizes of one job's files. A file that is saved again replaces its own size."""

    def __init__(self, claim: Claim, database: Database, limits: FileLimits) -> None:
        self._claim = claim
        self._database = database
        self.limits = limits
        self._usage = OwnerUsage(database, Quotas(stored_bytes=limits.owner))
        # Only an earlier attempt can have stored files.
        self._is_loaded = claim.fence == 1
        self._loading = asyncio.Lock()
        self._sizes: dict[UUID, int] = {}
        self._total = 0
        self._adding = threading.Lock()

    @asynccontextmanager
    async def counting(self, file_id: UUID, name: str) -> AsyncIterator["FileCount"]:
        """Count the file that is stored in the block; a file that fails there no longer counts.

        The bytes of its owner are those at the beginning: files that others store meanwhile do not count.
        """
        await self._load()
        owner_bytes = 0
        if self.limits.owner:
            owner_bytes = await self._usage.fetch_stored_bytes(self._claim.owner_id)
        count = FileCount(self, name, self._sizes.get(file_id, 0), owner_bytes)
        try:
            yield count
        except BaseException:
            count.close()
            raise
        self.add(count.size - count.replaced - count.excess)
        self._sizes[file_id] = count.size

    def add(self, size: int) -> int:
        """Add *size*, which may be negative, and return the bytes of all files. Threads may call this."""
        with self._adding:
            self._total += size
            return self._total

    async def _load(self) -> None:
        async with self._loading:
            if self._is_loaded:
                return
            rows = await self._database.fetch(_SIZES, self._claim.job_id)
            self._sizes = {row["id"]: row["size"] for row in rows}
            self.add(sum(self._sizes.values()))
            self._is_loaded = True


class FileCount:
    """The bytes of one file so far. *replaced* are those of its earlier content."""

    def __init__(self, files: JobFiles, name: str, replaced: int, owner_bytes: int) -> None:
        self._files = files
        self._name = name
        self._owner_bytes = owner_bytes
        self._adding = threading.Lock()
        self._is_closed = False
        self.replaced = replaced
        self.size = 0

    @property
    def excess(self) -> int:
        """The bytes by which the file is larger than the content that it replaces."""
        return max(self.size - self.replaced, 0)

    def close(self) -> None:
        """Take back what was counted. A thread that still stores the file counts nothing any more."""
        with self._adding:
            self._is_closed = True
            self._files.add(-self.excess)

    def add(self, size: int) -> None:
        """Count *size* bytes before they are written; the thread that stores the file calls this.

        Raises:
            JobCancelledError: nobody waits for the file any more.
            PermanentError: `files_too_large` or `quota_exceeded`.
        """
        with self._adding:
            if self._is_closed:
                raise JobCancelledError
            before = self.excess
            self.size += size
            total = self._files.add(self.excess - before)
        limits = self._files.limits
        if total > limits.job:
            message = f"{self._name}: the files of a job have at most {limits.job} bytes together"
            raise PermanentError(message, code="files_too_large")
        if limits.owner and self._owner_bytes - self.replaced + self.size > limits.owner:
            refusal = StorageQuotaExceededError(self._owner_bytes, limits.owner)
            raise PermanentError(f"{self._name}: {refusal}", code="quota_exceeded")
