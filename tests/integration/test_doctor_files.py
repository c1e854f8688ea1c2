"""`doctor --files` finds files without their bytes, and bytes without a file."""

import os
import time
from pathlib import Path
from uuid import UUID

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.cli.doctor_files import check_files
from headrace.domain.files.removals import BlobRemovals
from headrace.settings import Settings
from support.harness import Api


async def upload(api: Api) -> UUID:
    response = await api.http.post("/api/v1/files", files={"file": ("a.txt", b"content")})
    return UUID(response.json()["id"])


def age(path: Path, *, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


async def findings_about(name: str, settings: Settings) -> list[tuple[bool, str]]:
    return [(finding.ok, finding.text) for finding in await check_files(settings) if name in finding.text]


def stored(settings: Settings, file_id: UUID) -> Path:
    (path,) = settings.blob_dir.rglob(f"{file_id}.*")
    return path


async def test_files_and_their_bytes_are_compared(api: Api, settings: Settings) -> None:
    kept, lost = await upload(api), await upload(api)
    before = [(finding.ok, finding.text) for finding in await check_files(settings)]
    stored(settings, lost).unlink()
    young = BlobStore(settings.blob_dir, max_bytes=100)
    old = young.path(UUID(int=7), young.put(UUID(int=7), b"of nobody").key)
    age(old, hours=1)
    young.put(UUID(int=8), b"whose row follows")

    after = [(finding.ok, finding.text) for finding in await check_files(settings)]

    assert before == [(True, f"2 in {settings.blob_dir}, none without its bytes")]
    assert after == [
        (False, f"1 of 2 have lost their bytes: {lost}"),
        (True, "1 stored contents belong to no file; a worker removes them within about a day"),
    ]
    assert stored(settings, kept).exists()


async def test_a_file_with_fewer_bytes_than_its_row_says_is_found(api: Api, settings: Settings) -> None:
    damaged, _ = await upload(api), await upload(api)
    os.truncate(stored(settings, damaged), 3)

    (finding, *_) = await check_files(settings)

    assert not finding.ok
    assert finding.text.endswith(
        f"have another size than when they were stored: {damaged} (3 instead of 7 bytes)"
    )


async def test_bytes_that_no_worker_has_removed_within_a_day_are_a_fault(
    api: Api, settings: Settings, database: StatementPool
) -> None:
    blobs = BlobStore(settings.blob_dir, max_bytes=100)
    path = blobs.path(UUID(int=9), blobs.put(UUID(int=9), b"of nobody").key)
    age(path, hours=23)
    before = await findings_about(path.name, settings)
    age(path, hours=25)
    after = await findings_about(path.name, settings)
    await BlobRemovals(database).note([UUID(int=9)])
    while_noted = await findings_about(path.name, settings)
    await database.fetch("UPDATE blob_removals SET at = at - interval '25 hours'")

    assert (before, while_noted) == ([], [])
    assert (
        after
        == await findings_about(path.name, settings)
        == [
            (
                False,
                "1 stored contents belong to no file, and no worker has removed them within a day: "
                + path.name,
            )
        ]
    )


async def test_a_comparison_without_a_database_says_what_it_needs() -> None:
    (finding,) = await check_files(Settings())

    assert (finding.ok, "HEADRACE_DATABASE_URL" in finding.text) == (False, True)
