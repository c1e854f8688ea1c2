"""Writes the archive of a backup: a tar file that ends with the digests of everything before.

It can be read by hand: `tar -xf ARCHIVE`, `sha256sum -c SHA256SUMS`, `pg_restore database.dump`. No more
than a chunk of it is held in memory, however many files it has.
"""

import hashlib
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from headrace.adapters.durable_folders import sync_folder
from headrace.adapters.private_files import open_private
from headrace.domain.errors import HeadraceError

DUMP: Final = "database.dump"
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
FILES: Final = "files/"
CHUNK_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = tarfile.BLOCKSIZE
FORMAT: Final = 1

_FILE_MODE: Final = 0o600

Count = Annotated[int, Meta(ge=0)]
Schema = Annotated[str, Meta(pattern=r"\A[^\x00]{1,63}\Z")]
MajorVersion = Annotated[str, Meta(pattern=r"\A[1-9][0-9]{0,3}\Z")]


class ArchiveExistsError(HeadraceError):
    """A backup never replaces a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists: choose another name, or a folder")


class ArchiveNotWrittenError(HeadraceError):
    """The archive cannot be written where it was requested. Nothing of it is kept."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"cannot write the backup {path}: {(error.strerror or str(error)).lower()}")


class Manifest(Struct, frozen=True, kw_only=True):
    """What an archive holds, and what made it. *missing_files* had lost their bytes before the backup."""

    format: Annotated[int, Meta(ge=1)]
    created_at: Annotated[datetime, Meta(tz=True)]
    headrace: str
    revision: str
    schema: Schema
    postgresql: str
    pg_dump: MajorVersion
    jobs: Count
    files: Count
    file_bytes: Count
    has_files: bool
    missing_files: Count = 0

    @property
    def stored_files(self) -> int:
        """The number of files whose bytes are in the archive."""
        return self.files - self.missing_files if self.has_files else 0


class MemberWriter:
    """Takes the bytes of one entry."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            ArchiveNotWrittenError: the disk is full, or fails.
        """
        with _write_errors(self._path):
            self._file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)


class ArchiveWriter:
    """Writes the entries of an archive one after the other."""

    def __init__(self, path: Path, file: BinaryIO, sums: BinaryIO) -> None:
        """*sums* collects the lines of SHA256SUMS."""
        self._path = path
        self._file = file
        self._sums = sums

    @contextmanager
    def member(self, name: str) -> Iterator[MemberWriter]:
        """Add an entry whose size is known only at its end: its header is written again then.

        Raises:
            ArchiveNotWrittenError: the disk is full, or fails.
        """
        with _write_errors(self._path):
            start = self._file.tell()
            self._file.write(_header(name, 0))
        member = MemberWriter(self._path, self._file)
        yield member
        with _write_errors(self._path):
            self._file.write(bytes(-member.size % BLOCK_BYTES))
            end = self._file.tell()
            self._file.seek(start)
            self._file.write(_header(name, member.size))
            self._file.seek(end)
            self._sums.write(f"{member.digest.hexdigest()}  {name}\n".encode())

    def end(self, manifest: Manifest) -> None:
        """Add the manifest and the digests."""
        with self.member(MANIFEST) as member:
            member.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        with _write_errors(self._path):
            self._sums.seek(0)
        with _write_errors(self._path), self.member(SUMS) as member:
            while chunk := self._sums.read(CHUNK_BYTES):
                member.write(chunk)
        with _write_errors(self._path):
            self._file.write(bytes(2 * BLOCK_BYTES))
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveNotWrittenError(path, error) from error


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Write an archive in the block. It gets its name when the block has ended, durably, or is removed.

    Raises:
        ArchiveExistsError: there is a file at *path*.
        ArchiveNotWrittenError: the folder cannot be written, or its disk is full.
    """
    if path.exists():
        raise ArchiveExistsError(path)
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    with ExitStack() as stack:
        with _write_errors(path):
            stack.callback(_remove, draft)
            file = open_private(draft, "xb")
            stack.callback(_discard, file)
            sums = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
            stack.callback(_discard, sums)
        yield ArchiveWriter(path, file, sums)
        with _write_errors(path):
            file.close()
            _rename_to_free(draft, path)
            sync_folder(path.parent)


def _rename_to_free(draft: Path, path: Path) -> None:
    """Rename *draft* unless there is a file at *path*. Some disks have no hard links, which would do it."""
    try:
        open_private(path, "xb").close()
    except FileExistsError as error:
        raise ArchiveExistsError(path) from error
    try:
        draft.replace(path)
    except OSError:
        _remove(path)
        raise


def _discard(file: BinaryIO) -> None:
    """Close a file whose bytes are no longer needed: on a full disk those that are left cannot be written."""
    with suppress(OSError):
        file.close()


def _remove(draft: Path) -> None:
    with suppress(OSError):
        draft.unlink(missing_ok=True)


def _header(name: str, size: int) -> bytes:
    """Return the header of an entry. That of the GNU format has one block, whatever the size is."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, _FILE_MODE, int(time.time())
    return info.tobuf(tarfile.GNU_FORMAT)
