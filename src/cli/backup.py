"""Writes a backup: a snapshot of the database first, then the bytes of the files that it names."""

import asyncio
import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from headrace.adapters.backup.archive import CHUNK_BYTES, DUMP, FORMAT, ArchiveWriter, Manifest, new_archive
from headrace.adapters.backup.snapshot import DatabaseSnapshot, SnapshotFile, open_snapshot
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.servers.client_tools import ClientTool, find_tool
from headrace.cli.database_refusals import translate_refusals
from headrace.cli.operated_database import operated_database
from headrace.settings import Settings

_MAX_NAMED: Final = 20


class Backup(Struct, frozen=True):
    """A backup that was written. *damaged*: the first files whose bytes are not those of their rows."""

    path: Path
    manifest: Manifest
    damaged: list[str]
    damaged_count: int


def write_backup(settings: Settings, data_dir: Path, target: Path, *, has_files: bool = True) -> Backup:
    """Write a backup of the service to *target*, or into the folder *target*.

    Raises:
        HeadraceError: something is missing, or fails; nothing is kept. Nor is it after a KeyboardInterrupt.
    """
    path = target / f"headrace-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target
    settings = msgspec.structs.replace(settings, data_dir=data_dir)
    with (
        operated_database(settings, data_dir, is_new=False) as address,
        translate_refusals(),
        new_archive(path) as archive,
    ):
        return asyncio.run(_write(settings, address, path, archive, has_files=has_files))


async def _write(
    settings: Settings, address: PostgresAddress, path: Path, archive: ArchiveWriter, *, has_files: bool
) -> Backup:
    async with open_snapshot(address) as snapshot:
        tool = find_tool("pg_dump", snapshot.facts.server_major)
        with archive.member(DUMP) as member:
            async for chunk in snapshot.dump(tool):
                member.write(chunk)
        files = FileCopy(BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes), archive)
        if has_files:
            async for row in snapshot.files():
                files.add(row)
        manifest = _describe(snapshot, tool, files, has_files=has_files)
    archive.end(manifest)
    return Backup(path, manifest, files.damaged, files.damaged_count)


class FileCopy:
    """Copies the bytes of files into an archive, and notes those that are not what their rows say."""

    def __init__(self, blobs: BlobStore, archive: ArchiveWriter) -> None:
        self._blobs = blobs
        self._archive = archive
        self.bytes = 0
        self.missing_count = 0
        self.damaged: list[str] = []
        self.damaged_count = 0

    def add(self, row: SnapshotFile) -> None:
        """Copy the bytes of a file.

        Raises:
            StoreError: the store is away.
        """
        path = self._blobs.find(row.id, row.blob_key)
        if path is None:
            self.missing_count += 1
            self._note(row)
            return
        digest = hashlib.sha256()
        with path.open("rb") as file, self._archive.member(f"files/{path.parent.name}/{path.name}") as member:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                member.write(chunk)
        self.bytes += member.size
        if digest.digest() != row.sha256:
            self._note(row)

    def _note(self, row: SnapshotFile) -> None:
        self.damaged_count += 1
        if len(self.damaged) < _MAX_NAMED:
            self.damaged.append(str(row.id))


def _describe(snapshot: DatabaseSnapshot, tool: ClientTool, files: FileCopy, *, has_files: bool) -> Manifest:
    facts = snapshot.facts
    return Manifest(
        format=FORMAT,
        created_at=facts.at,
        headrace=version("headrace"),
        revision=facts.revision,
        schema=facts.schema,
        postgresql=facts.server_version,
        pg_dump=str(tool.major),
        jobs=facts.jobs,
        files=facts.files,
        file_bytes=files.bytes,
        has_files=has_files,
        missing_files=files.missing_count,
    )
