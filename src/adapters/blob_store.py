"""Stores the content of files in a local folder that API and workers share, and no other account can read.

Each write of a file has a path of its own, made of the file's id and a new key, and is never changed: a late
attempt can neither overwrite nor remove what another one has stored. The file's row names the valid key.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID, uuid4

import anyio.to_thread
import structlog
from msgspec import Struct

from headrace.adapters.durable_folders import make_folder, sync_folder
from headrace.adapters.private_files import open_private, restrict
from headrace.adapters.store_errors import StoreError, store_errors
from headrace.domain.conditions import Report, ignore_trouble
from headrace.domain.errors import HeadraceError

_log = structlog.get_logger(__name__)

_CHUNK_BYTES: Final = 1024 * 1024
_PROBE_BYTES: Final = 4096


class BlobTooLargeError(HeadraceError):
    """The content has more bytes than a file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a file has at most {limit} bytes")
        self.limit = limit


class BlobGoneError(HeadraceError):
    """Stored bytes were removed before a row named them."""

    def __init__(self) -> None:
        super().__init__("the bytes were removed, because storing the file took too long; send it again")


class StoredBlob(Struct, frozen=True):
    """A blob after it was stored: its size in bytes, its digest, and the key of its path."""

    size: int
    sha256: bytes
    key: UUID


class BlobVersion(Struct, frozen=True):
    """One stored content of a file; *written_at* in seconds since 1970."""

    file_id: UUID
    key: UUID
    path: Path
    written_at: float


class BlobStore:
    """A folder of blobs. Writes are atomic and durable: a blob exists completely or not at all."""

    def __init__(self, folder: Path, *, max_bytes: int, report: Report = ignore_trouble) -> None:
        """*report* receives each failure of the store to write a file."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._report = report

    def restrict(self) -> None:
        """Take the rights of other accounts from a store that an earlier release has left open to them.

        Its folder is closed first. A store that fails is reported. This blocks: call it in a thread.
        """
        with contextlib.suppress(StoreError), store_errors(self._report):
            if restrict([self._folder.resolve()]):
                _log.info("files_made_private", count=restrict(self._folder.rglob("*")))

    def path(self, file_id: UUID, key: UUID) -> Path:
        return self._shard(file_id) / f"{file_id}.{key.hex}"

    def find(self, file_id: UUID, key: UUID) -> Path | None:
        """Return the path of stored bytes; None if they are missing. This blocks: call it in a thread.

        Raises:
            StoreError: the store is away, or its files cannot be read.
        """
        path = self.path(file_id, key)
        with store_errors(self._report):
            try:
                path.open("rb").close()
            except FileNotFoundError:
                if not self._folder.is_dir():
                    raise
                return None
        return path

    def probe(self, has_files: bool) -> None:
        """Probe the store: see `probe_store`. *has_files*: its own folder must exist."""
        with store_errors(ignore_trouble):
            if has_files:
                self._folder.stat()
        probe_store(self._folder)

    async def put_stream(self, file_id: UUID, chunks: AsyncIterator[bytes]) -> StoredBlob:
        """Store the bytes that *chunks* yields.

        Raises:
            BlobTooLargeError: they exceed the limit; nothing is kept.
            StoreError: the store is full, read-only or away; nothing is kept.
        """
        with self._temporary() as (temporary, target):
            digest = hashlib.sha256()
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise BlobTooLargeError(self._max_bytes)
                digest.update(chunk)
                with store_errors(self._report):
                    await anyio.to_thread.run_sync(target.write, chunk)
            stored = StoredBlob(size, digest.digest(), uuid4())
            with store_errors(self._report):
                await anyio.to_thread.run_sync(
                    self._publish, self.path(file_id, stored.key), temporary, target
                )
        return stored

    def put(
        self, file_id: UUID, source: bytes | Path, on_bytes: Callable[[int], object] | None = None
    ) -> StoredBlob:
        """Store bytes, or a copy of the file at a path. This blocks: call it in a thread.

        *on_bytes* gets the size of each chunk before it is written, and may raise an error.

        Raises:
            BlobTooLargeError: the source exceeds the limit; nothing is kept.
            StoreError: the store is full, read-only or away; nothing is kept.
            OSError: the source cannot be read.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > self._max_bytes:
            raise BlobTooLargeError(self._max_bytes)
        opened = contextlib.nullcontext(source) if isinstance(source, bytes) else source.open("rb")
        with opened as content, self._temporary() as (temporary, target):
            digest = hashlib.sha256()
            size = 0
            for chunk in _chunks(content):
                size += len(chunk)
                # A file may grow while it is read.
                if size > self._max_bytes:
                    raise BlobTooLargeError(self._max_bytes)
                if on_bytes is not None:
                    on_bytes(len(chunk))
                digest.update(chunk)
                with store_errors(self._report):
                    target.write(chunk)
            stored = StoredBlob(size, digest.digest(), uuid4())
            with store_errors(self._report):
                self._publish(self.path(file_id, stored.key), temporary, target)
        return stored

    def put_back(self, file_id: UUID, key: UUID, chunks: Iterable[bytes]) -> None:
        """Store the bytes of a backup under the key that their row names. This blocks: call it in a thread.

        Raises:
            StoreError: the store is full, read-only or away; nothing is kept.
        """
        with self._temporary() as (temporary, target):
            for chunk in chunks:
                with store_errors(self._report):
                    target.write(chunk)
            with store_errors(self._report):
                self._publish(self.path(file_id, key), temporary, target)

    def renew(self, file_id: UUID, key: UUID) -> None:
        """Date stored bytes as if they were written now.

        Raises:
            BlobGoneError: they were removed, because no row named them for too long.
            StoreError: the store cannot be written any more.
        """
        with store_errors(self._report):
            try:
                os.utime(self.path(file_id, key))
            except FileNotFoundError as error:
                raise BlobGoneError from error

    def remove(self, file_id: UUID, *, keep: UUID | None = None, written_before: float = math.inf) -> bool:
        """Remove every version of a file's content but that with the key *keep*.

        Returns False if a version was written after *written_before* (seconds since 1970) and is left. If the
        content to keep is missing, nothing is removed: another version may be what is left of the file.
        """
        if keep is not None and not self.path(file_id, keep).exists():
            return True
        are_all_gone = True
        for version in _versions(self._shard(file_id).glob(f"{file_id}.*")):
            if version.key == keep:
                continue
            if version.written_at < written_before:
                version.path.unlink(missing_ok=True)
            else:
                are_all_gone = False
        return are_all_gone

    def shards(self) -> list[Path]:
        """Return the folders that hold blobs."""
        return sorted(path for path in self._folder.glob("[0-9a-f][0-9a-f]") if path.is_dir())

    def versions(self, shard: Path) -> Iterator[BlobVersion]:
        """Yield what is stored in one of `shards`."""
        return _versions(shard.iterdir())

    def present(self) -> float:
        """Return the time by the clock that dates what is stored, in seconds since 1970.

        On a shared file system this is the clock of its server, which may differ from that of this machine.
        """
        try:
            with self._temporary() as (_, target):
                return os.fstat(target.fileno()).st_mtime
        except StoreError:  # A full disk takes no new file, but its folder can be touched.
            os.utime(self._folder)
            return self._folder.stat().st_mtime

    def remove_abandoned(self, *, written_before: float) -> int:
        """Remove the parts of writes that have ended without a result; return how many."""
        count = 0
        for part in self._folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_mtime < written_before:
                    part.unlink()
                    count += 1
        return count

    def _shard(self, file_id: UUID) -> Path:
        return self._folder / file_id.hex[-2:]

    def _publish(self, final: Path, temporary: Path, target: BinaryIO) -> None:
        target.flush()
        os.fsync(target.fileno())
        make_folder(final.parent)
        temporary.replace(final)
        # A row may name the content only once a power cut leaves its entry, and that of a shard that another
        # process has just made.
        for folder in (final.parent, self._folder):
            sync_folder(folder)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        temporary = self._folder / f".{uuid4().hex}.part"
        with store_errors(self._report):
            make_folder(self._folder)
            target = open_private(temporary, "xb")
        try:
            yield temporary, target
        finally:
            # Closing repeats a write that has failed. What cannot be removed now is removed as abandoned.
            with contextlib.suppress(OSError):
                target.close()
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def probe_store(folder: Path) -> None:
    """Write and remove a small file in the folder of a store. This blocks: call it in a thread.

    A store that has no file yet is probed in the nearest folder that exists.

    Raises:
        StoreError: that is impossible.
    """
    with store_errors(ignore_trouble):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        probe = existing / f".{uuid4().hex}.part"
        try:
            with open_private(probe, "xb") as target:
                target.write(bytes(_PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)


def _chunks(content: bytes | BinaryIO) -> Iterator[bytes | memoryview]:
    if isinstance(content, bytes):
        view = memoryview(content)
        yield from (view[start : start + _CHUNK_BYTES] for start in range(0, len(view), _CHUNK_BYTES))
    else:
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk


def _versions(paths: Iterable[Path]) -> Iterator[BlobVersion]:
    """Yield the blobs among *paths*; what is removed meanwhile, or is no blob, is left out."""
    for path in paths:
        file_id, _, key = path.name.partition(".")
        with contextlib.suppress(FileNotFoundError, ValueError):
            yield BlobVersion(UUID(file_id), UUID(key), path, path.stat().st_mtime)
