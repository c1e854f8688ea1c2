"""Writes and reads the archive of a backup: a tar file that ends with the digests of everything before.

It can be read by hand: `tar -xf ARCHIVE`, `sha256sum -c SHA256SUMS`, `pg_restore database.dump`. Neither side
holds more than a chunk of it in memory, however many files it has.
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
from typing import BinaryIO, Final
from uuid import uuid4

import msgspec
from msgspec import Struct

from headrace.adapters.durable_folders import sync_folder
from headrace.adapters.private_files import open_private
from headrace.domain.errors import HeadraceError

DUMP: Final = "database.dump"
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
CHUNK_BYTES: Final = 1024 * 1024
FORMAT: Final = 1

_BLOCK_BYTES: Final = tarfile.BLOCKSIZE
_MAX_MANIFEST_BYTES: Final = 1024 * 1024
_FILE_MODE: Final = 0o600


class ArchiveExistsError(HeadraceError):
    """A backup never replaces a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists: choose another name, or a folder")


class ArchiveNotWrittenError(HeadraceError):
    """The archive cannot be written where it was requested. Nothing of it is kept."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"cannot write the backup {path}: {(error.strerror or str(error)).lower()}")


class ArchiveDamagedError(HeadraceError):
    """The file is no archive of a backup, or not all of it is as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a whole backup: {reason}; use another one")


class Manifest(Struct, frozen=True, kw_only=True):
    """What an archive holds, and what made it. *missing_files* had lost their bytes before the backup."""

    format: int
    created_at: datetime
    headrace: str
    revision: str
    schema: str
    postgresql: str
    pg_dump: str
    jobs: int
    files: int
    file_bytes: int
    has_files: bool
    missing_files: int = 0


class Member(Struct, frozen=True):
    """One entry of an archive, and where its bytes are."""

    name: str
    offset: int
    size: int


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
            self._file.write(bytes(-member.size % _BLOCK_BYTES))
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
        with self.member(SUMS) as member:
            while chunk := self._sums.read(CHUNK_BYTES):
                member.write(chunk)
        with _write_errors(self._path):
            self._file.write(bytes(2 * _BLOCK_BYTES))
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
            file = stack.enter_context(open_private(draft, "xb"))
            sums = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        yield ArchiveWriter(path, file, sums)
        with _write_errors(path):
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


def _remove(draft: Path) -> None:
    with suppress(OSError):
        draft.unlink(missing_ok=True)


class ArchiveReader:
    """Reads an archive. Only what `verify` has seen whole should be restored."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file

    def verify(self) -> Manifest:
        """Read the whole archive, compare it with its digests, and return its manifest.

        Raises:
            ArchiveDamagedError: it is cut, altered, or no backup.
        """
        manifest = None
        with tempfile.TemporaryFile() as sums:
            for member in self.members():
                if member.name == SUMS:
                    self._compare(member, sums)
                    if manifest is None:
                        break
                    return manifest
                if member.name == MANIFEST:
                    manifest = self._decode_manifest(member)
                sums.write(f"{self._digest(member)}  {member.name}\n".encode())
        raise ArchiveDamagedError(self.path, "it ends too early")

    def members(self) -> Iterator[Member]:
        """Yield the entries, in their order.

        Raises:
            ArchiveDamagedError: what follows is no entry.
        """
        self._file.seek(0)
        while True:
            header = self._file.read(_BLOCK_BYTES)
            if len(header) < _BLOCK_BYTES or not any(header):
                return
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.TarError, UnicodeDecodeError) as error:
                raise ArchiveDamagedError(self.path, "a header in it cannot be read") from error
            member = Member(info.name, self._file.tell(), info.size)
            yield member
            self._file.seek(member.offset + member.size + -member.size % _BLOCK_BYTES)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of an entry.

        Raises:
            ArchiveDamagedError: the file ends in it.
        """
        position, left = member.offset, member.size
        while left:
            self._file.seek(position)
            chunk = self._file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise ArchiveDamagedError(self.path, f"it ends within {member.name}")
            position += len(chunk)
            left -= len(chunk)
            yield chunk

    def _digest(self, member: Member) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(member):
            digest.update(chunk)
        return digest.hexdigest()

    def _compare(self, member: Member, sums: BinaryIO) -> None:
        sums.seek(0)
        for chunk in self.chunks(member):
            if sums.read(len(chunk)) != chunk:
                raise ArchiveDamagedError(self.path, "its contents do not fit its digests")
        if sums.read(1):
            raise ArchiveDamagedError(self.path, "its contents do not fit its digests")

    def _decode_manifest(self, member: Member) -> Manifest:
        if member.size > _MAX_MANIFEST_BYTES:
            raise ArchiveDamagedError(self.path, "its manifest is too long")
        try:
            return msgspec.json.decode(b"".join(self.chunks(member)), type=Manifest)
        except msgspec.MsgspecError as error:
            raise ArchiveDamagedError(self.path, "its manifest cannot be read") from error


@contextmanager
def opened_archive(path: Path) -> Iterator[ArchiveReader]:
    """Open an archive for the block.

    Raises:
        ArchiveDamagedError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield ArchiveReader(path, file)
    except OSError as error:
        if error.filename != str(path):
            raise
        raise ArchiveDamagedError(path, (error.strerror or str(error)).lower()) from error


def _header(name: str, size: int) -> bytes:
    """Return the header of an entry. That of the GNU format has one block, whatever the size is."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, _FILE_MODE, int(time.time())
    return info.tobuf(tarfile.GNU_FORMAT)
