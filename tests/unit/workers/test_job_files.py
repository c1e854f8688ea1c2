"""The bytes of a job's files are counted while they are written, and refused beyond a limit."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore
from headrace.domain.database import Row
from headrace.domain.pipelines.context import JobCancelledError, PermanentError
from headrace.workers.attempt.job_files import FileLimits, JobFiles
from support.worker_builders import new_claim

A, B = UUID(int=1), UUID(int=2)


class StoredSizes:
    """Answers both queries: with the sizes of the job's files, and with the bytes of their owner."""

    def __init__(self, sizes: dict[UUID, int], owner_bytes: int = 0) -> None:
        self.queries: list[str] = []
        self._sizes = sizes
        self._owner_bytes = owner_bytes

    async def fetch(self, statement: str, *_: Any) -> Sequence[Row]:
        self.queries.append(statement)
        if "sum(" in statement:
            return cast(Sequence[Row], [{"used": self._owner_bytes}])
        return cast(Sequence[Row], [{"id": key, "size": size} for key, size in self._sizes.items()])


def files_of(
    sizes: dict[UUID, int], limits: FileLimits, *, fence: int = 1, owner_bytes: int = 0
) -> tuple[JobFiles, StoredSizes]:
    database = StoredSizes(sizes, owner_bytes)
    return JobFiles(new_claim(fence=fence), database, limits), database


async def save(files: JobFiles, file_id: UUID, *chunks: int) -> None:
    async with files.counting(file_id, "a.bin") as count:
        for chunk in chunks:
            count.add(chunk)


async def code_of(files: JobFiles, file_id: UUID, *chunks: int) -> str:
    with pytest.raises(PermanentError) as caught:
        await save(files, file_id, *chunks)
    return caught.value.code


async def test_the_files_of_a_job_have_a_limit_together() -> None:
    files, database = files_of({}, FileLimits(10))
    await save(files, A, 4, 2)

    assert await code_of(files, B, 4, 1) == "files_too_large"
    await save(files, B, 4)
    assert database.queries == []


async def test_a_file_is_refused_before_the_chunk_that_exceeds_the_limit() -> None:
    files, _ = files_of({}, FileLimits(10))

    async with files.counting(A, "a.bin") as count:
        count.add(10)
        with pytest.raises(PermanentError, match="the files of a job have at most 10 bytes"):
            count.add(1)


async def test_a_file_that_is_saved_again_replaces_its_size() -> None:
    files, _ = files_of({}, FileLimits(10))
    for size in (8, 10, 9):
        await save(files, A, size)

    assert await code_of(files, B, 2) == "files_too_large"
    await save(files, B, 1)


async def test_a_file_that_was_not_stored_does_not_count() -> None:
    files, _ = files_of({}, FileLimits(10))
    with contextlib.suppress(OSError):
        async with files.counting(A, "a.bin") as count:
            count.add(9)
            raise OSError("the disk is full")

    await save(files, A, 10)


async def test_a_thread_that_goes_on_after_its_file_was_given_up_counts_nothing() -> None:
    files, _ = files_of({}, FileLimits(10))
    with contextlib.suppress(TimeoutError):
        async with files.counting(A, "a.bin") as count:
            count.add(6)
            raise TimeoutError

    with pytest.raises(JobCancelledError):
        count.add(4)
    await save(files, B, 10)
    assert await code_of(files, A, 1) == "files_too_large"


async def test_files_that_are_stored_at_once_count_together() -> None:
    files, _ = files_of({}, FileLimits(10))
    async with files.counting(A, "a.bin") as first:
        first.add(6)

        assert await code_of(files, B, 5) == "files_too_large"
        first.add(4)


async def test_the_files_of_earlier_attempts_count() -> None:
    files, database = files_of({A: 6}, FileLimits(10), fence=2)

    assert await code_of(files, B, 5) == "files_too_large"
    await save(files, A, 7)
    assert await code_of(files, B, 4) == "files_too_large"
    assert len(database.queries) == 1


async def test_the_quota_of_the_owner_holds_for_files_of_jobs() -> None:
    files, _ = files_of({A: 6}, FileLimits(100, owner=20), fence=2, owner_bytes=18)

    assert await code_of(files, B, 3) == "quota_exceeded"
    await save(files, A, 8)
    await save(files, B, 2)


def test_a_source_that_grows_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs", max_bytes=3_000_000)
    source = tmp_path / "growing"
    source.write_bytes(b"x" * 2_500_000)
    sizes: list[int] = []

    def grow(size: int) -> None:
        sizes.append(size)
        with source.open("ab") as opened:
            opened.write(b"x" * 1_000_000)

    with pytest.raises(Exception, match="a file has at most 3000000 bytes"):
        blobs.put(A, source, grow)

    assert sum(sizes) <= 3_000_000
    assert [path for path in (tmp_path / "blobs").iterdir() if path.is_file()] == []
