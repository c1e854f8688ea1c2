"""What is left of uploads that were never finished does not stay."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*.part"))


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, max_bytes=100)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun"
        assert len(parts(tmp_path)) == 1
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await blobs.put_stream(UUID(int=1), chunks())

    assert parts(tmp_path) == []


def test_only_parts_of_killed_processes_that_are_old_are_removed(tmp_path: Path) -> None:
    for name, written_at in ((".old.part", 1_000), (".young.part", 3_000)):
        (tmp_path / name).write_bytes(b"begun")
        os.utime(tmp_path / name, (written_at, written_at))

    assert BlobStore(tmp_path, max_bytes=100).remove_abandoned(written_before=2_000) == 1
    assert parts(tmp_path) == [".young.part"]
