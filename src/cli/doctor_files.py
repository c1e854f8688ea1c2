"""The check of `doctor --files`: every row of a file has its bytes, and all bytes have a row."""

import asyncio
from collections.abc import Sequence
from typing import Final

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.blob_survey import BlobSurvey
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Finding
from headrace.domain.database import TRANSIENT
from headrace.settings import Settings

_SUBJECT: Final = "files"
_MAX_NAMED: Final = 20
# Younger bytes may belong to a write whose row follows.
_MIN_AGE_SECONDS: Final = 600.0


async def check_files(settings: Settings) -> list[Finding]:
    """Compare the rows of files with the bytes in the data folder. This reads all of both."""
    if not settings.database_url:
        return [Finding(_SUBJECT, False, "set HEADRACE_DATABASE_URL: without it there is nothing to compare")]
    pool = await StatementPool.open(settings.database_url, size=1)
    blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
    survey = BlobSurvey(pool, blobs)
    try:
        written_before = await asyncio.to_thread(blobs.present) - _MIN_AGE_SECONDS
        (row,) = await pool.fetch("SELECT count(*) AS files FROM files")
        missing = [file_id async for file_id in survey.find_missing()]
        unnamed = [
            version
            for shard in blobs.shards()
            for version in await survey.find_unnamed(shard, written_before=written_before)
        ]
    except (*TRANSIENT, OSError) as error:
        return [Finding(_SUBJECT, False, str(error))]
    finally:
        await pool.close()
    findings = []
    if missing:
        findings.append(
            Finding(
                _SUBJECT, False, f"{len(missing)} of {row['files']} have lost their bytes: {_named(missing)}"
            )
        )
    else:
        findings.append(
            Finding(_SUBJECT, True, f"{row['files']} in {settings.blob_dir}, none without its bytes")
        )
    if unnamed:
        advice = "a worker removes them within about a day"
        findings.append(
            Finding(_SUBJECT, True, f"{len(unnamed)} stored contents belong to no file; {advice}")
        )
    return findings


def _named(ids: Sequence[object]) -> str:
    more = f" and {len(ids) - _MAX_NAMED} more" if len(ids) > _MAX_NAMED else ""
    return ", ".join(map(str, ids[:_MAX_NAMED])) + more
