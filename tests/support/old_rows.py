"""A database of revision 0003 with the rows of a few days of use."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.database import StatementPool
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.partitions import lowest_id_at, months_from
from headrace.domain.events.types import (
    JobCancelled,
    JobError,
    JobEvent,
    JobFailed,
    JobQueued,
    JobStarted,
    JobSucceeded,
    LogWritten,
    StepFailed,
    StepStarted,
    StepSucceeded,
)
from headrace.domain.pipelines.loading import load_all

REPORT: Final = b"seven ticks\n" * 1000
UPLOAD: Final = b"what somebody has sent"
_BROKEN: Final = JobError(code="step_failed", message="it broke", step="nothing")


class OldRows(Struct):
    """The ids of the jobs by state and of the files by name, and the response of an idempotency key."""

    owner_id: UUID
    jobs: dict[str, UUID]
    files: dict[str, UUID]
    key: str
    answer: bytes


async def fill_database(database: StatementPool, blobs: BlobStore) -> OldRows:
    """Fill a database of revision 0003."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    month, following = months_from(now, 2)
    await database.fetch(
        f"CREATE TABLE job_events_{month:%Y_%m} PARTITION OF job_events"
        f" FOR VALUES FROM ('{lowest_id_at(month)}') TO ('{lowest_id_at(following)}')"
    )
    for pipeline in load_all([]).pipelines.values():
        await _put(
            database,
            "pipelines",
            id=uuid7(),
            name=pipeline.name,
            version=pipeline.version,
            description=pipeline.description,
            graph=pipeline.graph(),
            params_schema=pipeline.params_schema(),
            result_schema=pipeline.result_schema(),
            created_at=now,
            updated_at=now,
        )
    owner, admin = uuid7(), uuid7()
    stamps = {"created_at": now, "updated_at": now}
    await _put(database, "users", id=owner, username="dev", is_admin=False, last_login_at=now, **stamps)
    await _put(database, "users", id=admin, username="Ada", email="ada@example.com", is_admin=True, **stamps)
    jobs = {name: uuid7() for name in ("succeeded", "failed", "cancelled", "running", "queued", "later")}
    old = OldRows(owner, jobs, {}, "once", msgspec.json.encode({"id": str(jobs["succeeded"]), "old": True}))

    await _job(
        database,
        old,
        "succeeded",
        [
            JobQueued(),
            JobStarted(attempt=1, worker="old-1"),
            StepStarted(step="tick", index=0, attempt=1),
            LogWritten(level="info", message="half way", step="tick"),
            StepSucceeded(step="tick", index=0, attempt=1, took_ms=5),
            StepSucceeded(step="total", attempt=1, took_ms=1),
            JobSucceeded(result={"ticks": 7}),
        ],
        pipeline="ticks",
        params={"count": 7},
        meta={"note": "50% off", "deep": {"er": [1, None]}},
        result={"ticks": 7},
        started_at=now,
        finished_at=now,
        progress=1.0,
    )
    await _job(
        database,
        old,
        "failed",
        [
            JobQueued(),
            JobStarted(attempt=1, worker="old-1"),
            StepFailed(step="nothing", attempt=1, error=_BROKEN),
            JobFailed(error=_BROKEN),
        ],
        error=msgspec.to_builtins(_BROKEN),
        max_attempts=1,
        started_at=now,
        finished_at=now,
    )
    await _job(database, old, "cancelled", [JobQueued(), JobCancelled()], attempt=0, finished_at=now)
    await _job(
        database,
        old,
        "running",
        [JobQueued(), JobStarted(attempt=1, worker="old-2"), StepStarted(step="nothing", attempt=1)],
        started_at=now,
        lease_owner="old-2",
        lease_expires_at=now + timedelta(seconds=15),
    )
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    await _job(database, old, "queued", [JobQueued()], attempt=0, run_at=long_ago)
    later = datetime(2100, 1, 1, tzinfo=UTC)
    await _job(database, old, "later", [JobQueued()], state="queued", attempt=0, run_at=later)

    for key, index, output in (
        ("tick[0]", 0, {"ticks": 7}),
        ("total", None, {"ticks": 7}),
        ("tick", None, None),
    ):
        await _put(
            database,
            "step_runs",
            job_id=jobs["succeeded"],
            key=key,
            name=key.partition("[")[0],
            index=index,
            state="succeeded",
            attempt=1,
            tries=1,
            items=[0] if key == "tick" else None,
            output=output,
            finished_at=now,
        )
    for job, state in (("failed", "failed"), ("running", "running")):
        await _put(
            database,
            "step_runs",
            job_id=jobs[job],
            key="nothing",
            name="nothing",
            state=state,
            attempt=1,
            tries=1,
        )
    await _file(database, blobs, old, "report.txt", REPORT, job_id=jobs["succeeded"], step="total")
    await _file(database, blobs, old, "upload.bin", UPLOAD)
    for name, tagged in (("nightly", ("succeeded", "queued")), ("müde", ("succeeded",))):
        tag = uuid7()
        await _put(database, "tags", id=tag, owner_id=owner, name=name, **stamps)
        for job in tagged:
            await _put(database, "job_tags", job_id=jobs[job], tag_id=tag)
    request = {"call": "jobs", "body": {"pipeline": "noop"}}
    await _put(
        database,
        "idempotency_keys",
        owner_id=owner,
        key=old.key,
        created_at=datetime.now(UTC),
        request=request,
        answer=old.answer,
    )
    return old


async def _job(
    database: StatementPool, old: OldRows, name: str, events: Sequence[JobEvent], **more: Any
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=10)
    run_at = more.pop("run_at", at)
    columns = {
        "id": old.jobs[name],
        "owner_id": old.owner_id,
        "pipeline": "noop",
        "version": 1,
        "state": name,
        "params": {},
        "meta": {},
        "queue": "default",
        "priority": 5,
        "run_at": run_at,
        "due_order": run_at - timedelta(seconds=300),
        "attempt": 1,
        "fence": 1,
        "event_seq": len(events),
        "created_at": at,
        "updated_at": at,
    }
    await _put(database, "jobs", **{**columns, **more})
    for seq, event in enumerate(events, start=1):
        written = encode_event(event)
        body = msgspec.Raw(written.body.encode())
        await _put(
            database, "job_events", job_id=old.jobs[name], seq=seq, at=at, type=written.type, body=body
        )


async def _file(
    database: StatementPool, blobs: BlobStore, old: OldRows, name: str, content: bytes, **more: Any
) -> None:
    file_id, digest, now = uuid7(), hashlib.sha256(content).digest(), datetime.now(UTC)
    path = blobs.path(file_id, UUID(bytes=digest[:16]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    old.files[name] = file_id
    await _put(
        database,
        "files",
        id=file_id,
        owner_id=old.owner_id,
        name=name,
        media_type="text/plain",
        size=len(content),
        sha256=digest,
        created_at=now,
        updated_at=now,
        **more,
    )


async def _put(database: StatementPool, table: str, **columns: Any) -> None:
    given = {name: value for name, value in columns.items() if value is not None}
    values = [
        msgspec.json.encode(value).decode() if isinstance(value, dict | list | msgspec.Raw) else value
        for value in given.values()
    ]
    names = ", ".join(f'"{name}"' for name in given)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    await database.fetch(f"INSERT INTO {table} ({names}) VALUES ({places})", *values)  # noqa: S608
