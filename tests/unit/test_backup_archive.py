"""The archive of a backup: its bounds in memory, large entries, and failures of the disk."""

import errno
import io
import os
import tarfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.backup import archive as module
from headrace.adapters.backup.archive import (
    ArchiveDamagedError,
    ArchiveExistsError,
    ArchiveNotWrittenError,
    Manifest,
    new_archive,
    opened_archive,
)

MANIFEST = Manifest(
    format=1,
    created_at=datetime(2027, 1, 31, 8, tzinfo=UTC),
    headrace="0.1.0",
    revision="0015",
    schema="headrace",
    postgresql="18.4",
    pg_dump="18",
    jobs=1,
    files=1,
    file_bytes=7,
    has_files=True,
)


def write(path: Path, entries: dict[str, bytes]) -> None:
    with new_archive(path) as archive:
        for name, content in entries.items():
            with archive.member(name) as member:
                member.write(content)
        archive.end(MANIFEST)


def test_an_archive_is_read_as_it_was_written(tmp_path: Path) -> None:
    entries = {"database.dump": b"d" * 3_000_000, "files/ab/c": b"", "files/ab/d": b"x" * 512}
    write(tmp_path / "a.tar", entries)

    with opened_archive(tmp_path / "a.tar") as archive:
        manifest = archive.verify()
        read = {member.name: b"".join(archive.chunks(member)) for member in archive.members()}

    assert manifest == MANIFEST
    assert {name: read[name] for name in entries} == entries
    assert list(read) == [*entries, "manifest.json", "SHA256SUMS"]


def test_memory_does_not_grow_with_the_entries_or_their_sizes(tmp_path: Path) -> None:
    path, chunk = tmp_path / "a.tar", bytes(100_000)
    tracemalloc.start()
    try:
        with new_archive(path) as archive:
            with archive.member("database.dump") as member:
                for _ in range(300):
                    member.write(chunk)
            for number in range(5_000):
                with archive.member(f"files/00/{number}") as member:
                    member.write(b"content")
            archive.end(MANIFEST)
        with opened_archive(path) as reader:
            reader.verify()
            count = sum(1 for _ in reader.members())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 5_003
    assert path.stat().st_size > 30_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize("size", [0, 7, 8 * 2**30 - 1, 8 * 2**30, 2**40])
def test_a_header_has_one_block_whatever_the_size_is(size: int) -> None:
    header = module._header(
        "files/e9/01a22b9f-8874-7141-8b65-c656150c24e9.171fe71c44244c65b9b628aa075b4112", size
    )

    assert len(header) == 512
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size
    with tarfile.open(fileobj=io.BytesIO(header)) as archive:
        assert archive.next().size == size  # type: ignore[union-attr]


@pytest.mark.parametrize("place", ["write", "fsync", "replace"])
def test_a_disk_that_fails_is_named_and_nothing_is_left(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "write":
        monkeypatch.setattr(module, "_header", refuse)
    elif place == "fsync":
        monkeypatch.setattr(module.os, "fsync", refuse)  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(
        ArchiveNotWrittenError, match=r"cannot write the backup .*a.tar: no space left on device"
    ):
        write(tmp_path / "a.tar", {"database.dump": b"d"})

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_while_an_archive_is_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"

    def write_slowly() -> None:
        with new_archive(path) as archive:
            path.write_bytes(b"another backup")
            archive.end(MANIFEST)

    with pytest.raises(ArchiveExistsError, match="choose another name"):
        write_slowly()

    assert path.read_bytes() == b"another backup"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_within_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with new_archive(tmp_path / "a.tar") as archive, archive.member("database.dump") as member:
            member.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [(b"{}", "its manifest cannot be read"), (bytes(2_000_000), "its manifest is too long")],
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes, words: str, tmp_path: Path) -> None:
    with new_archive(tmp_path / "a.tar") as archive:
        with archive.member("manifest.json") as member:
            member.write(manifest)
        archive.end(MANIFEST)

    with opened_archive(tmp_path / "a.tar") as reader, pytest.raises(ArchiveDamagedError, match=words):
        reader.verify()
