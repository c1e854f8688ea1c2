"""Reads what is stored after a mixed run: the jobs, their files and the bytes, and what the API shows."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from faults.mixed_checker import StoredJob
from faults.mixed_sent import Sent, digest, upload_content
from faults.records import read_records
from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.settings import Settings

_JOBS: Final = """
SELECT id, pipeline, params::text AS params, meta::text AS meta, error->>'code' AS error_code,
       ARRAY(SELECT t.name FROM job_tags l JOIN tags t ON t.id = l.tag_id WHERE l.job_id = jobs.id
             ORDER BY t.name) AS tags
FROM jobs
"""
_FILES: Final = """
SELECT id, job_id, step, name, size, encode(sha256, 'hex') AS digest, blob_key FROM files
"""


async def read_jobs(database: StatementPool, ledger: Path) -> dict[str, StoredJob]:
    """Return all jobs by id."""
    rows = await database.fetch(_JOBS)
    records = await read_records(database, [str(row["id"]) for row in rows], ledger)
    jobs = {
        str(row["id"]): StoredJob(
            record=records[str(row["id"])],
            pipeline=row["pipeline"],
            params=msgspec.json.decode(row["params"]),
            meta=msgspec.json.decode(row["meta"]),
            tags=row["tags"],
            error_code=row["error_code"],
        )
        for row in rows
    }
    for row in await database.fetch(f"{_FILES} WHERE job_id IS NOT NULL"):
        jobs[str(row["job_id"])].files[row["step"], row["name"]] = row["digest"]
    return jobs


async def wrong_bytes(database: StatementPool, settings: Settings) -> list[str]:
    """Return the files whose bytes are not those that their rows name."""
    blobs = BlobStore(settings.blob_dir, max_bytes=settings.max_file_bytes)
    rows = await database.fetch(_FILES)

    def compare() -> list[str]:
        wrong = []
        for row in rows:
            content = blobs.path(row["id"], row["blob_key"]).read_bytes()
            if (len(content), digest(content)) != (row["size"], row["digest"]):
                wrong.append(f"{row['id']}: its bytes differ from its row")
        return wrong

    return await asyncio.to_thread(compare)


async def wrong_uploads(database: StatementPool, sent: Sent) -> list[str]:
    """Return uploads that are stored twice, or were never sent."""
    rows = await database.fetch("SELECT name, size FROM files WHERE job_id IS NULL")
    names = [row["name"] for row in rows]
    wrong = [f"{name}: stored twice" for name in set(names) if names.count(name) > 1]
    for row in rows:
        number = int(row["name"].removeprefix("upload "))
        if number > sent.number or row["size"] != len(upload_content(number)):
            wrong.append(f"{row['name']}: stored with {row['size']} bytes")
    return wrong


async def unkept_by_api(http: httpx.AsyncClient, address: str, sent: Sent) -> list[str]:
    """Return the differences between what was acknowledged and what the API at *address* shows."""
    expectations: list[tuple[str, Any, Any]] = [
        *((f"/jobs/{job.id}", job.deletes, None) for job in sent.jobs.values() if job.deletes.sent),
        *((f"/presets/{preset.id}", preset.deletes, preset.title) for preset in sent.presets.values()),
        *(
            (f"/files/{upload.id}/content", upload.deletes, upload_content(upload.number))
            for upload in sent.uploads.values()
        ),
    ]
    unkept = []
    for path, deletes, content in expectations:
        response = await http.get(f"{address}/api/v1{path}")
        statuses = {404} if deletes.acknowledged else {200, 404} if deletes.sent else {200}
        if response.status_code not in statuses:
            unkept.append(f"{path}: {deletes} deletes, and status {response.status_code}")
        elif response.status_code == 200 and content is not None:
            shown = response.content if isinstance(content, bytes) else response.json()["title"]
            if shown != content:
                unkept.append(f"{path}: shows {shown!r}")
    return unkept
