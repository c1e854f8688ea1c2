"""Serves the context calls of one attempt's steps: progress, logs, files and outputs of earlier steps.

Coroutine, thread and process steps all end up here, so each rule is in one place.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import structlog

from headrace.adapters.blob_store import BlobStore, StoredBlob
from headrace.adapters.group_commit import GroupCommit
from headrace.domain.database import TRANSIENT, Database, DatabaseBusyError
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import (
    MAX_LOG_BYTES,
    MAX_LOG_EVENTS,
    FileCreated,
    FileSummary,
    LogWritten,
    Progress,
)
from headrace.domain.files.lookup import fetch_blob_key
from headrace.domain.files.names import FileNameError, check_media_type, check_name
from headrace.domain.files.removals import BlobRemovals
from headrace.domain.jobs.attempts.changes import Change, NewFile, WriteResult
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.errors import ChangeRefusedError, LeaseLostError
from headrace.domain.pipelines.context import PermanentError
from headrace.domain.pipelines.definition import StepHandle
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.job_files import FileLimits, JobFiles
from headrace.workers.attempt.outcome import AttemptStatus
from headrace.workers.attempt.step_database import StepDatabase
from headrace.workers.attempt.step_store import StepStore
from headrace.workers.attempt.step_waits import StepWaits
from headrace.workers.log_fields import plain_fields
from headrace.workers.values import finite_number, safe_text

_log = structlog.get_logger(__name__)

_MAX_PROGRESS_TEXT_BYTES: Final = 500
# A step that logs faster than PostgreSQL writes waits from this number of lines on.
_MAX_UNWRITTEN_LOGS: Final = 200
# A coroutine step cannot wait in `print`, so lines are dropped from this number on.
_MAX_PRINTED_LOGS: Final = 1_000
# Much less than the age from which bytes without a row are removed.
_MAX_WRITE_SECONDS: Final = 60.0
# A write that takes longer waits for PostgreSQL, and is no time of the step.
_WRITE_PATIENCE_SECONDS: Final = 1.0
_LEVELS: Final = frozenset({"debug", "info", "warning", "error"})


class StepHost:
    """The worker's side of `StepContext`, shared by all steps of one attempt.

    *outputs* returns the outputs of the steps that are done, as JSON by step name. *waits* are what the step
    runs wait for.
    """

    def __init__(
        self,
        claim: Claim,
        changes: ChangeBuilder,
        *,
        commit: GroupCommit,
        database: Database,
        blobs: BlobStore,
        file_limits: FileLimits,
        on_progress: Callable[[str, str, Progress], None],
        status: AttemptStatus,
    ) -> None:
        self._claim = claim
        self._changes = changes
        self._commit = commit
        self._database = StepDatabase(database)
        self.waits = StepWaits()
        files = JobFiles(claim, self._database, file_limits)
        self._store = StepStore(blobs, files, self.waits, status)
        self._on_progress = on_progress
        self._status = status
        self._logged = claim.log_events
        self._is_closed = False
        self._unwritten_logs = 0
        self.dropped_logs = 0
        self.outputs: dict[str, Callable[[], str]] = {}

    async def write(self, change: Change, key: str | None = None) -> WriteResult:
        """Write *change* and wait until it is committed; *key* names the step run that waits for it.

        Raises:
            LeaseLostError: another attempt holds the job, or it is final; nothing was written.
        """
        self._refuse_late(change)
        written = self._commit.submit(change)
        if key is None:
            result = await written
        else:
            with self._waiting_for_database(key):
                result = await written
        self._status.on_written(result)
        if result.verdict == "lost":
            raise LeaseLostError(change.job_id)
        return result

    async def finish(self, change: Change) -> str:
        """Write the change that ends the attempt; later writes are refused.

        Return the job's new state; empty if an earlier try of this call has written it.

        Raises:
            LeaseLostError: see `write`.
        """
        # Close first, so that no write can be queued after this one.
        self._is_closed = True
        return (await self.write(change)).state

    def _refuse_late(self, change: Change) -> None:
        """Refuse the writes of abandoned threads after the end of the attempt."""
        if self._is_closed and change.move is None:
            raise LeaseLostError(change.job_id)

    def write_later(self, change: Change) -> None:
        """Queue *change* to be written, without waiting for it."""
        self._commit.enqueue(change)

    def report(self, name: str, key: str, done: float, total: float, message: str | None) -> None:
        """Record the progress of a step run; numbers that no float holds count as 0."""
        text = None if message is None else safe_text(str(message), _MAX_PROGRESS_TEXT_BYTES)
        progress = Progress(done=finite_number(done), total=finite_number(total), message=text)
        self._on_progress(name, key, progress)

    async def log(self, key: str, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """Append a log event to the job, to be written with those that follow at once.

        After 10,000 of them, messages are only counted.
        """
        written = self._write_log(key, message, level, fields)
        if written is not None and self._unwritten_logs >= _MAX_UNWRITTEN_LOGS:
            with self._waiting_for_database(key):
                await asyncio.wait({written})

    def log_at_once(
        self, key: str, message: str, level: str, fields: Mapping[str, Any]
    ) -> "asyncio.Future[WriteResult] | None":
        """Append a log event as `log` does, without waiting; return the future of its write.

        It is only counted while 1,000 others are not written yet, and has no effect after the attempt.
        """
        if self._unwritten_logs >= _MAX_PRINTED_LOGS:
            self.dropped_logs += 1
            return None
        try:
            return self._write_log(key, message, level, fields)
        except LeaseLostError:
            return None

    def _write_log(
        self, key: str, message: str, level: str, fields: Mapping[str, Any]
    ) -> "asyncio.Future[WriteResult] | None":
        if self._logged >= MAX_LOG_EVENTS:
            self.dropped_logs += 1
            return None
        self._logged += 1
        level = str(level)
        change = self._changes.empty()
        change.events.append(
            encode_event(
                LogWritten(
                    level=level if level in _LEVELS else "info",
                    message=safe_text(str(message), MAX_LOG_BYTES),
                    fields=plain_fields(fields),
                    step=key,
                )
            )
        )
        self._refuse_late(change)
        written = self._commit.submit(change)
        self._unwritten_logs += 1
        written.add_done_callback(self._on_log_written)
        return written

    def _waiting_for_database(self, key: str) -> contextlib.AbstractContextManager[None]:
        error = DatabaseBusyError("a write is not stored yet")
        return self.waits.waiting(key, error, patience_seconds=_WRITE_PATIENCE_SECONDS)

    def _on_log_written(self, written: asyncio.Future[WriteResult]) -> None:
        self._unwritten_logs -= 1
        if written.cancelled():
            return
        if (error := written.exception()) is None:
            self._status.on_written(written.result())
        else:
            _log.warning("log_not_written", job_id=str(self._claim.job_id), error=repr(error))

    async def save_file(self, key: str, name: str, source: bytes | Path, media_type: str) -> UUID:
        """Store bytes or the file at a path as a file of the job; return its id.

        A second save under the same name replaces the first, also by a later try of the step.

        Raises:
            PermanentError: `file_invalid`, `file_too_large`, `files_too_large`, `quota_exceeded`,
                `storage_full`.
            LeaseLostError: see `write`.
            StoreError: the store still cannot be written after five minutes, which is no fault of the step.
        """
        try:
            check_name(name)
        except FileNameError as error:
            raise PermanentError(str(error), code="file_invalid") from error
        file_id = uuid5(self._claim.job_id, f"{key}/{name}")
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                stored = await self._store.put(key, file_id, name, source)
                await self.write(self._file_change(file_id, key, name, media_type, stored), key)
                # Bytes that have waited very long for their row may have been removed meanwhile.
                is_late = loop.time() - began > _MAX_WRITE_SECONDS
                if not is_late or await self._store.holds(file_id, stored.key):
                    return file_id
        except (LeaseLostError, ChangeRefusedError, *TRANSIENT):
            with contextlib.suppress(*TRANSIENT):
                await BlobRemovals(self._database).note([file_id])
            raise

    def _file_change(self, file_id: UUID, key: str, name: str, media_type: str, stored: StoredBlob) -> Change:
        """Return the change that writes the row of a file together with its event."""
        claim = self._claim
        new_file = NewFile(
            id=file_id,
            step=key,
            name=name,
            media_type=check_media_type(media_type),
            size=stored.size,
            sha256=stored.sha256,
            blob_key=stored.key,
        )
        summary = FileSummary(
            id=file_id,
            job_id=claim.job_id,
            step=key,
            name=name,
            media_type=new_file.media_type,
            size=new_file.size,
            sha256=new_file.sha256.hex(),
            created_at=claim.now(),
        )
        change = self._changes.empty()
        change.files.append(new_file)
        change.events.append(encode_event(FileCreated(file=summary)))
        return change

    async def file_path(self, key: str, file_id: UUID | str) -> Path:
        """Return the path of the bytes of a file that belongs to the job's owner, for the step run *key*.

        Raises:
            PermanentError: `file_not_found`, also for a file of another owner; `file_unreadable`.
            StoreError: the store still cannot be used after five minutes, which is no fault of the step.
        """
        try:
            file_uuid = file_id if isinstance(file_id, UUID) else UUID(str(file_id))
        except ValueError as error:
            raise PermanentError(f"{file_id!r} is not the id of a file", code="file_not_found") from error
        with self._waiting_for_database(key):
            blob_key = await fetch_blob_key(self._database, file_uuid, self._claim.owner_id)
        if blob_key is None:
            raise PermanentError(f"there is no file {file_uuid}", code="file_not_found")
        return await self._store.find(key, file_uuid, blob_key)

    def output(self, step: StepHandle | str) -> str:
        """Return the output of an earlier step, as JSON.

        Raises:
            PermanentError: `output_missing`, that step has not ended.
        """
        name = step.name if isinstance(step, StepHandle) else step
        if name not in self.outputs:
            raise PermanentError(
                f"step {name!r} has not ended: let this one come after it", code="output_missing"
            )
        return self.outputs[name]()
