"""Reads the archive of a backup, and checks all of it before anything is restored."""

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from headrace.adapters.backup.archive import BLOCK_BYTES, CHUNK_BYTES, DUMP, FILES, MANIFEST, SUMS, Manifest
from headrace.domain.errors import HeadraceError

_MAX_MANIFEST_BYTES: Final = 1024 * 1024
_MAX_MEMBER_BYTES: Final = 2**62


class ArchiveDamagedError(HeadraceError):
    """The file is no archive of a backup, or not all of it is as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a whole backup: {reason}; use another one")


class Member(Struct, frozen=True):
    """One entry of an archive, and where its bytes are."""

    name: str
    offset: int
    size: int


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
        dumps = files = 0
        with tempfile.TemporaryFile() as sums:
            for member in self.members():
                if member.name == SUMS:
                    self._compare(member, sums)
                    if manifest is None:
                        break
                    self._require_entries(manifest, dumps, files)
                    return manifest
                dumps += member.name == DUMP
                files += member.name.startswith(FILES)
                if member.name == MANIFEST:
                    manifest = self._decode_manifest(member)
                sums.write(f"{self._digest(member)}  {member.name}\n".encode())
        raise ArchiveDamagedError(self.path, "it ends too early")

    def members(self) -> Iterator[Member]:
        """Yield the entries, in their order.

        Raises:
            ArchiveDamagedError: what follows is no entry.
        """
        position = 0
        while True:
            header = self._read(position, BLOCK_BYTES)
            if len(header) < BLOCK_BYTES or not any(header):
                return
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.TarError, UnicodeDecodeError) as error:
                raise ArchiveDamagedError(self.path, "a header in it cannot be read") from error
            if not 0 <= info.size <= _MAX_MEMBER_BYTES - position:
                raise ArchiveDamagedError(self.path, "a header in it cannot be read")
            member = Member(info.name, position + BLOCK_BYTES, info.size)
            yield member
            position = member.offset + member.size + -member.size % BLOCK_BYTES

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of an entry.

        Raises:
            ArchiveDamagedError: the file ends in it.
        """
        position, left = member.offset, member.size
        while left:
            chunk = self._read(position, min(CHUNK_BYTES, left))
            if not chunk:
                raise ArchiveDamagedError(self.path, f"it ends within {member.name}")
            position += len(chunk)
            left -= len(chunk)
            yield chunk

    def _read(self, position: int, size: int) -> bytes:
        try:
            self._file.seek(position)
            return self._file.read(size)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _require_entries(self, manifest: Manifest, dumps: int, files: int) -> None:
        if dumps == 0:
            raise ArchiveDamagedError(self.path, f"it has no {DUMP}")
        if dumps > 1:
            raise ArchiveDamagedError(self.path, f"it has more than one {DUMP}")
        if files != manifest.stored_files:
            reason = f"its manifest counts {manifest.stored_files} files, and it holds {files}"
            raise ArchiveDamagedError(self.path, reason)

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
        if path.is_fifo():
            raise _not_on_disk(path)
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        if not file.seekable():
            raise _not_on_disk(path)
        yield ArchiveReader(path, file)


def _unreadable(path: Path, error: OSError) -> ArchiveDamagedError:
    return ArchiveDamagedError(path, (error.strerror or str(error)).lower())


def _not_on_disk(path: Path) -> ArchiveDamagedError:
    return ArchiveDamagedError(path, "it must be a file on a disk, not a pipe or a terminal")
