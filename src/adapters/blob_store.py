"""Stores the content of files in a local folder that API and workers share.

The path of a blob has the id and the digest of its file: a late attempt cannot overwrite another's blob.
"""

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID, uuid4

import anyio.to_thread
from msgspec import Struct

from headrace.domain.errors import HeadraceError

_CHUNK_BYTES: Final = 1024 * 1024


class BlobTooLargeError(HeadraceError):
    """The content has more bytes than a file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a file has at most {limit} bytes")
        self.limit = limit


class StoredBlob(Struct, frozen=True):
    """A blob after it was stored: its size in bytes, and its digest."""

    size: int
    sha256: bytes


class BlobStore:
    """A folder of blobs. Writes are atomic: a blob exists completely or not at all."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def path(self, file_id: UUID, sha256: bytes) -> Path:
        return self._folder / file_id.hex[-2:] / f"{file_id}.{sha256.hex()[:32]}"

    async def put_stream(self, file_id: UUID, chunks: AsyncIterator[bytes]) -> StoredBlob:
        """Store the bytes that *chunks* yields.

        Raises:
            BlobTooLargeError: they exceed the limit; nothing is kept.
        """
        with self._temporary() as (temporary, target):
            digest = hashlib.sha256()
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise BlobTooLargeError(self._max_bytes)
                digest.update(chunk)
                await anyio.to_thread.run_sync(target.write, chunk)
            stored = StoredBlob(size, digest.digest())
            await anyio.to_thread.run_sync(self._publish, file_id, stored, temporary, target)
        return stored

    def put(self, file_id: UUID, source: bytes | Path) -> StoredBlob:
        """Store bytes, or a copy of the file at a path. This blocks: call it in a thread.

        Raises:
            BlobTooLargeError: the source exceeds the limit; nothing is kept.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > self._max_bytes:
            raise BlobTooLargeError(self._max_bytes)
        with self._temporary() as (temporary, target):
            if isinstance(source, bytes):
                target.write(source)
            else:
                with source.open("rb") as opened:
                    shutil.copyfileobj(opened, target, _CHUNK_BYTES)
            target.flush()
            with temporary.open("rb") as written:
                digest = hashlib.file_digest(written, "sha256").digest()
            stored = StoredBlob(temporary.stat().st_size, digest)
            self._publish(file_id, stored, temporary, target)
        return stored

    def remove(self, file_id: UUID, *, written_before: float = math.inf) -> bool:
        """Remove every version of a file's content, if there is any.

        Returns False if a version was written after *written_before* (seconds since 1970) and is kept.
        """
        are_all_gone = True
        for version in (self._folder / file_id.hex[-2:]).glob(f"{file_id}.*"):
            try:
                is_old = version.stat().st_mtime < written_before
            except FileNotFoundError:
                continue
            if is_old:
                version.unlink(missing_ok=True)
            else:
                are_all_gone = False
        return are_all_gone

    def _publish(self, file_id: UUID, stored: StoredBlob, temporary: Path, target: BinaryIO) -> None:
        target.flush()
        os.fsync(target.fileno())
        final = self.path(file_id, stored.sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(final)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{uuid4().hex}.part"
        try:
            with temporary.open("xb") as target:
                yield temporary, target
        finally:
            temporary.unlink(missing_ok=True)
