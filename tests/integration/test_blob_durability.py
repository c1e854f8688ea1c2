"""What was stored outlives a power cut: its content and each folder entry on its path are synchronised."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore, StoredBlob
from headrace.adapters.store_errors import StoreError

FILE_ID = UUID(int=7)


async def put_stream(blobs: BlobStore) -> StoredBlob:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"content"

    return await blobs.put_stream(FILE_ID, chunks())


async def put(blobs: BlobStore) -> StoredBlob:
    return blobs.put(FILE_ID, b"content")


@pytest.mark.parametrize("store", [put, put_stream])
async def test_the_entries_of_a_stored_blob_and_of_its_new_folders_are_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Callable[[BlobStore], Awaitable[StoredBlob]]
) -> None:
    lasting: set[Path] = set()

    def record(descriptor: int) -> None:
        synchronised = os.fstat(descriptor)
        for folder in (tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())):
            if os.path.samestat(folder.stat(), synchronised):
                lasting.update(folder.iterdir())

    monkeypatch.setattr(os, "fsync", record)
    blobs = BlobStore(tmp_path / "data" / "blobs", max_bytes=100)

    stored = await store(blobs)

    path = blobs.path(FILE_ID, stored.key)
    assert path.read_bytes() == b"content"
    assert lasting >= {path, path.parent, tmp_path / "data" / "blobs", tmp_path / "data"}


async def test_a_file_system_that_does_not_synchronise_folders_stores_blobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    blobs = BlobStore(tmp_path / "blobs", max_bytes=100)

    stored = blobs.put(FILE_ID, b"content")

    assert blobs.path(FILE_ID, stored.key).exists()


async def test_a_disk_that_fails_fails_the_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StoreError, match="Input/output error"):
        BlobStore(tmp_path / "blobs", max_bytes=100).put(FILE_ID, b"content")
