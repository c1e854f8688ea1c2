"""A store of files that is full, read-only or away: what is refused, and that nothing is left of it."""

import asyncio
import errno
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from headrace.adapters import blob_store
from headrace.adapters.blob_store import BlobStore, probe_store
from headrace.adapters.store_errors import StoreError, StoreFullError, StoreReadOnlyError
from headrace.domain.conditions import Condition, Trouble

FILE_ID = UUID(int=7)
KINDS = [
    (errno.ENOSPC, StoreFullError, Condition.FULL),
    (errno.EDQUOT, StoreFullError, Condition.FULL),
    (errno.EROFS, StoreReadOnlyError, Condition.READ_ONLY),
    (errno.EACCES, StoreReadOnlyError, Condition.READ_ONLY),
    (errno.EPERM, StoreReadOnlyError, Condition.READ_ONLY),
    (errno.EIO, StoreError, Condition.AWAY),
    (errno.ENOENT, StoreError, Condition.AWAY),
    (errno.ESTALE, StoreError, Condition.AWAY),
]


def fail_with(number: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class FailingFile(io.FileIO):
    """A file whose first write passes, and whose later ones and its close fail."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path, "xb")
        self._number = number
        self._writes = 0

    def write(self, data: Any) -> int:
        self._writes += 1
        if self._writes > 1:
            fail_with(self._number)()
        return super().write(data)

    def close(self) -> None:
        is_first = not self.closed
        super().close()
        if is_first:
            fail_with(self._number)()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(1 << 20)


async def store(blobs: BlobStore, how: str) -> None:
    if how == "upload":
        await blobs.put_stream(FILE_ID, chunks())
    else:
        await asyncio.to_thread(blobs.put, FILE_ID, bytes(3 << 20))


@pytest.mark.parametrize("how", ["upload", "step"])
@pytest.mark.parametrize(("number", "kind", "condition"), KINDS)
@pytest.mark.parametrize("place", ["open", "write", "publish"])
async def test_an_error_of_the_store_is_told_apart_and_nothing_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    number: int,
    kind: type[StoreError],
    condition: Condition,
    place: str,
) -> None:
    if place == "open":
        monkeypatch.setattr(blob_store, "open_private", fail_with(number))
    elif place == "write":
        monkeypatch.setattr(blob_store, "open_private", lambda path, _: FailingFile(path, number))
    else:
        monkeypatch.setattr(Path, "replace", fail_with(number))
    troubles: list[Trouble] = []
    blobs = BlobStore(tmp_path / "blobs", max_bytes=1 << 30, report=troubles.append)

    with pytest.raises(StoreError) as raised:
        await store(blobs, how)

    assert type(raised.value) is kind
    assert troubles == [Trouble(condition, os.strerror(number))]
    assert str(tmp_path) not in str(raised.value)
    assert files_in(tmp_path) == []


async def test_a_source_that_cannot_be_read_is_no_fault_of_the_store(tmp_path: Path) -> None:
    troubles: list[Trouble] = []
    blobs = BlobStore(tmp_path / "blobs", max_bytes=1 << 30, report=troubles.append)

    with pytest.raises(IsADirectoryError):
        blobs.put(FILE_ID, tmp_path)
    with pytest.raises(FileNotFoundError):
        blobs.put(FILE_ID, tmp_path / "missing")

    assert troubles == []


@pytest.mark.parametrize("source", ["bytes", "path"])
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_what_is_stored_is_what_was_given(tmp_path: Path, source: str, size: int) -> None:
    content = os.urandom(size)
    given: bytes | Path = content
    if source == "path":
        given = tmp_path / "given"
        given.write_bytes(content)
    blobs = BlobStore(tmp_path / "blobs", max_bytes=1 << 30)

    stored = blobs.put(FILE_ID, given)

    path = blobs.find(FILE_ID, stored.key)
    assert path is not None
    assert (path.read_bytes(), stored.size) == (content, size)


def test_missing_bytes_are_told_apart_from_a_store_that_is_away(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs", max_bytes=100)
    stored = blobs.put(FILE_ID, b"kept")
    blobs.path(FILE_ID, stored.key).unlink()

    missing = blobs.find(FILE_ID, stored.key)
    (tmp_path / "blobs").rename(tmp_path / "moved")

    assert missing is None
    with pytest.raises(StoreError, match="not available"):
        blobs.find(FILE_ID, stored.key)


def test_a_probe_writes_the_nearest_folder_and_leaves_nothing(tmp_path: Path) -> None:
    probe_store(tmp_path / "not" / "there")

    assert list(tmp_path.iterdir()) == []
