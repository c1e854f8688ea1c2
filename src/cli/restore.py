"""Restores a backup: the bytes of files first, then the rows that name them."""

import asyncio
from pathlib import Path
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.adapters.backup.archive import (
    DUMP,
    FILES,
    FORMAT,
    MANIFEST,
    Manifest,
)
from headrace.adapters.backup.archive_reader import (
    ArchiveDamagedError,
    ArchiveReader,
    Member,
    opened_archive,
)
from headrace.adapters.backup.restoring import open_restore
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.postgres_url import PostgresAddress
from headrace.adapters.revisions import known_revisions
from headrace.cli.database_refusals import translate_refusals
from headrace.cli.operated_database import operated_database
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings


class NewerArchiveError(HeadraceError):
    """A newer release has written the archive."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(
            f"the backup is of a newer release (revision {manifest.revision}): install headrace"
            f" {manifest.headrace} or later"
        )


class OtherSchemaError(HeadraceError):
    """The archive holds another schema than the one that the service would use."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"the backup is of the schema {schema}: set HEADRACE_DATABASE_SCHEMA={schema}")


class Restored(Struct, frozen=True):
    """What was restored. *is_behind*: the schema is to be migrated."""

    manifest: Manifest
    is_behind: bool


def check_archive(path: Path) -> Manifest:
    """Read the whole archive and return its manifest.

    Raises:
        ArchiveDamagedError: it is cut, altered, or no backup.
        NewerArchiveError: this release cannot restore it.
    """
    with opened_archive(path) as archive:
        return _check(archive)


def restore_backup(settings: Settings, data_dir: Path, path: Path, *, replaces: bool = False) -> Restored:
    """Restore the archive at *path*. The whole archive is checked before anything is changed.

    Raises:
        HeadraceError: something does not fit, is missing or fails; the database is as it was before. So it is
            after a KeyboardInterrupt.
    """
    settings = msgspec.structs.replace(settings, data_dir=data_dir)
    with opened_archive(path) as archive:
        manifest = _check(archive)
        if settings.database_schema not in (None, manifest.schema):
            raise OtherSchemaError(manifest.schema)
        with operated_database(settings, data_dir, is_new=True) as address, translate_refusals():
            asyncio.run(_restore(settings, address, archive, manifest, replaces=replaces))
    return Restored(manifest, manifest.revision != known_revisions()[0])


def _check(archive: ArchiveReader) -> Manifest:
    manifest = archive.verify()
    if manifest.format > FORMAT or manifest.revision not in known_revisions():
        raise NewerArchiveError(manifest)
    for member in archive.members():
        if member.name.startswith(FILES):
            _parse_blob_name(archive, member)
    return manifest


async def _restore(
    settings: Settings,
    address: PostgresAddress,
    archive: ArchiveReader,
    manifest: Manifest,
    *,
    replaces: bool,
) -> None:
    async with open_restore(address, manifest, replaces=replaces) as database:
        blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
        dump: Member | None = None
        for member in archive.members():
            if member.name == DUMP:
                dump = member
            elif member.name.startswith(FILES):
                file_id, key = _parse_blob_name(archive, member)
                blobs.put_back(file_id, key, archive.chunks(member))
            elif member.name == MANIFEST:
                break
        if dump is None:
            raise ArchiveDamagedError(archive.path, f"it has no {DUMP}")
        await database.run(archive.chunks(dump), int(manifest.pg_dump))


def _parse_blob_name(archive: ArchiveReader, member: Member) -> tuple[UUID, UUID]:
    """Return the id and the key of the file that an entry holds. The folders in its name do not count."""
    file_id, _, key = member.name.rpartition("/")[2].partition(".")
    try:
        return UUID(file_id), UUID(key)
    except ValueError as error:
        raise ArchiveDamagedError(archive.path, f"{member.name} is not the name of a file") from error
