"""`doctor --files` finds files without their bytes, and bytes without a file."""

import os
from pathlib import Path
from uuid import UUID

from headrace.adapters.blob_store import BlobStore
from headrace.cli.doctor_files import check_files
from headrace.settings import Settings
from support.harness import Api


async def upload(api: Api) -> UUID:
    response = await api.http.post("/api/v1/files", files={"file": ("a.txt", b"content")})
    return UUID(response.json()["id"])


def stored(settings: Settings, file_id: UUID) -> Path:
    (path,) = settings.blob_dir.rglob(f"{file_id}.*")
    return path


async def test_files_and_their_bytes_are_compared(api: Api, settings: Settings) -> None:
    kept, lost = await upload(api), await upload(api)
    before = [(finding.ok, finding.text) for finding in await check_files(settings)]
    stored(settings, lost).unlink()
    young = BlobStore(settings.blob_dir, max_bytes=100)
    old = young.path(UUID(int=7), young.put(UUID(int=7), b"of nobody").key)
    os.utime(old, (0, 0))
    young.put(UUID(int=8), b"whose row follows")

    after = [(finding.ok, finding.text) for finding in await check_files(settings)]

    assert before == [(True, f"2 in {settings.blob_dir}, none without its bytes")]
    assert after == [
        (False, f"1 of 2 have lost their bytes: {lost}"),
        (True, "1 stored contents belong to no file; a worker removes them within about a day"),
    ]
    assert stored(settings, kept).exists()


async def test_a_comparison_without_a_database_says_what_it_needs() -> None:
    (finding,) = await check_files(Settings())

    assert (finding.ok, "HEADRACE_DATABASE_URL" in finding.text) == (False, True)
