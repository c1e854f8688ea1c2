"""The archive of a backup: its bounds in memory, large entries, and failures of the disk."""

import errno
import io
import os
import tarfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.backup import archive as module
from headrace.adapters.backup.archive import (
    ArchiveExistsError,
    ArchiveNotWrittenError,
    Manifest,
    new_archive,
)
from headrace.adapters.backup.archive_reader import ArchiveDamagedError, ArchiveReader, opened_archive

MANIFEST = Manifest(
    format=1,
    created_at=datetime(2027, 1, 31, 8, tzinfo=UTC),
    headrace="0.1.0",
    revision="0015",
    schema="headrace",
    postgresql="18.4",
    pg_dump="18",
    jobs=1,
    files=2,
    file_bytes=512,
    has_files=True,
)


def write(path: Path, entries: dict[str, bytes], manifest: Manifest = MANIFEST) -> None:
    with new_archive(path) as archive:
        for name, content in entries.items():
            with archive.member(name) as member:
                member.write(content)
        archive.end(manifest)


class FailingDisk(io.FileIO):
    """A disk that is full, and cannot be read."""

    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def readinto(self, _: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


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
            archive.end(msgspec.structs.replace(MANIFEST, files=5_000))
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


@pytest.mark.parametrize("size", [1, 5_000, 3_000_000])
def test_bytes_that_a_full_disk_has_left_in_memory_do_not_hide_its_error(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_private", lambda path, mode: io.BufferedWriter(FailingDisk(path, mode)))

    with pytest.raises(ArchiveNotWrittenError, match="no space left on device"):
        write(tmp_path / "a.tar", {"database.dump": bytes(size)})

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_hide_the_error_of_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_private", lambda path, mode: io.BufferedWriter(FailingDisk(path, mode)))

    def write_half() -> None:
        with new_archive(tmp_path / "a.tar") as archive, archive.member("database.dump"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {"database.dump": b"d"})

    with FailingDisk(tmp_path / "a.tar") as disk, io.BufferedReader(disk) as file:
        reader = ArchiveReader(tmp_path / "a.tar", file)
        with pytest.raises(ArchiveDamagedError, match=r"a\.tar is not a whole backup: input/output error"):
            reader.verify()


def test_a_pipe_or_a_terminal_is_no_archive() -> None:
    ends = [*os.pipe(), *os.openpty()]
    paths = [Path(f"/dev/fd/{ends[0]}"), Path(os.ttyname(ends[3]))]
    try:
        for path in paths:
            with pytest.raises(ArchiveDamagedError, match="must be a file on a disk"), opened_archive(path):
                pass
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("size", [-512, -1, 2**70])
def test_a_size_that_no_file_has_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(module._header("database.dump", size) + bytes(1024))

    with opened_archive(path) as reader, pytest.raises(ArchiveDamagedError, match="a header in it cannot be"):
        reader.verify()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["files/a", "files/b"], "it has no database.dump"),
        (["database.dump", "database.dump", "files/a", "files/b"], "it has more than one database.dump"),
        (["database.dump", "files/a"], "its manifest counts 2 files, and it holds 1"),
        (["database.dump", "files/a", "files/b", "files/c"], "its manifest counts 2 files, and it holds 3"),
    ],
)
def test_entries_that_do_not_fit_the_manifest_are_refused(
    names: list[str], words: str, tmp_path: Path
) -> None:
    with new_archive(tmp_path / "a.tar") as archive:
        for name in names:
            with archive.member(name) as member:
                member.write(b"content")
        archive.end(MANIFEST)

    with opened_archive(tmp_path / "a.tar") as reader, pytest.raises(ArchiveDamagedError, match=words):
        reader.verify()


@pytest.mark.parametrize("counts", [{"missing_files": 2}, {"has_files": False}])
def test_files_that_were_missing_or_left_out_have_no_entry(counts: dict[str, Any], tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(MANIFEST, **counts)
    write(tmp_path / "a.tar", {"database.dump": b"d"}, manifest)

    with opened_archive(tmp_path / "a.tar") as reader:
        assert reader.verify() == manifest


@pytest.mark.parametrize(
    "changes",
    [
        {"pg_dump": "abc"},
        {"pg_dump": "18\n"},
        {"pg_dump": ""},
        {"schema": ""},
        {"schema": "a\0b"},
        {"format": 0},
        {"jobs": -5},
        {"files": -1},
        {"file_bytes": -1},
        {"missing_files": -1},
        {"created_at": datetime(2027, 1, 31)},
    ],
)
def test_a_manifest_with_a_value_that_no_backup_writes_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    entries = {"database.dump": b"d", "files/a": b"", "files/b": b""}
    write(tmp_path / "a.tar", entries, msgspec.structs.replace(MANIFEST, **changes))

    with (
        opened_archive(tmp_path / "a.tar") as reader,
        pytest.raises(ArchiveDamagedError, match="its manifest cannot be read"),
    ):
        reader.verify()


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
