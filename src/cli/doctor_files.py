"""The check of `doctor --files`: every row of a file has all its bytes, and all bytes have a row."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from headrace.adapters.blob_store import BlobStore, BlobVersion
from headrace.adapters.blob_survey import BlobSurvey, DamagedFile
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Finding
from headrace.domain.database import TRANSIENT
from headrace.settings import Settings

_SUBJECT: Final = "files"
_MAX_NAMED: Final = 20
# Younger bytes may belong to a write whose row follows.
_MIN_AGE_SECONDS: Final = 600.0
# Workers search the whole store within this time, and remove within seconds what is noted to be removed.
_REMOVED_WITHIN: Final = timedelta(days=1)


async def check_files(settings: Settings) -> list[Finding]:
    """Compare the rows of files with the bytes in the data folder. This reads all rows and all folders."""
    if not settings.database_url:
        return [Finding(_SUBJECT, False, "set HEADRACE_DATABASE_URL: without it there is nothing to compare")]
    pool = await StatementPool.open(settings.database, size=1)
    blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
    survey = BlobSurvey(pool, blobs)
    try:
        (row,) = await pool.fetch("SELECT count(*) AS files FROM files")
        damaged = [file async for file in survey.find_damaged()]
        return [
            *_damage_findings(damaged, row["files"], settings.blob_dir),
            *await _unnamed_findings(survey, blobs),
        ]
    except (*TRANSIENT, OSError) as error:
        return [Finding(_SUBJECT, False, str(error))]
    finally:
        await pool.close()


def _damage_findings(damaged: Sequence[DamagedFile], count: int, folder: Path) -> Iterator[Finding]:
    lost = [file.file_id for file in damaged if file.stored is None]
    changed = [
        f"{file.file_id} ({file.stored} instead of {file.size} bytes)"
        for file in damaged
        if file.stored is not None
    ]
    if not damaged:
        yield Finding(_SUBJECT, True, f"{count} in {folder}, none without its bytes")
    if lost:
        yield Finding(_SUBJECT, False, f"{len(lost)} of {count} have lost their bytes: {_named(lost)}")
    if changed:
        text = f"{len(changed)} of {count} have another size than when they were stored: {_named(changed)}"
        yield Finding(_SUBJECT, False, text)


async def _unnamed_findings(survey: BlobSurvey, blobs: BlobStore) -> list[Finding]:
    now = await asyncio.to_thread(blobs.present)
    written_before = now - _REMOVED_WITHIN.total_seconds()
    count = 0
    neglected: list[BlobVersion] = []
    for shard in await asyncio.to_thread(blobs.shards):
        unnamed = await survey.find_unnamed(shard, written_before=now - _MIN_AGE_SECONDS)
        old = [version for version in unnamed if version.written_at < written_before]
        neglected += await survey.find_neglected(old, due_within=_REMOVED_WITHIN)
        count += len(unnamed)
    findings = []
    if neglected:
        names = _named([version.path.name for version in neglected])
        text = "stored contents belong to no file, and no worker has removed them within a day"
        findings.append(Finding(_SUBJECT, False, f"{len(neglected)} {text}: {names}"))
    if left := count - len(neglected):
        text = "stored contents belong to no file; a worker removes them within about a day"
        findings.append(Finding(_SUBJECT, True, f"{left} {text}"))
    return findings


def _named(ids: Sequence[object]) -> str:
    more = f" and {len(ids) - _MAX_NAMED} more" if len(ids) > _MAX_NAMED else ""
    return ", ".join(map(str, ids[:_MAX_NAMED])) + more
