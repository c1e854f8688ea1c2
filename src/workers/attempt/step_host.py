"""What the steps of one attempt ask of it: reports, logs, files, outputs of earlier steps.

All three kinds of steps come here, so each wish is granted in one place.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import structlog

from headrace.adapters.blob_store import BlobStore, BlobTooLargeError
from headrace.adapters.group_commit import GroupCommit
from headrace.domain.database import Database
from headrace.domain.events.types import (
    MAX_LOG_BYTES,
    MAX_LOG_EVENTS,
    FileCreated,
    FileSummary,
    LogWritten,
    Progress,
    write,
)
from headrace.domain.files.lookup import sha256_of
from headrace.domain.files.names import FileNameError, check_media_type, check_name
from headrace.domain.jobs.attempts.changes import Change, NewFile, WriteResult
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.jobs.errors import LeaseLostError
from headrace.domain.pipelines.context import PermanentError
from headrace.domain.pipelines.definition import StepHandle
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.outcome import AttemptStatus
from headrace.workers.attempt.values import plain_fields, safe_text

_log = structlog.get_logger(__name__)

_LEVELS: Final = frozenset({"debug", "info", "warning", "error"})


class StepHost:
    """One attempt's counter for its steps."""

    def __init__(
        self,
        claim: Claim,
        records: ChangeBuilder,
        *,
        commit: GroupCommit,
        database: Database,
        blobs: BlobStore,
        on_progress: Callable[[str, str, Progress], None],
        standing: AttemptStatus,
    ) -> None:
        self._claim = claim
        self._records = records
        self._commit = commit
        self._database = database
        self._blobs = blobs
        self._on_progress = on_progress
        self._standing = standing
        self._logged = claim.log_events
        self._is_closed = False
        self.dropped_logs = 0
        self.outputs: dict[str, str] = {}

    async def write(self, change: Change) -> WriteResult:
        """Have *change* written.

        Raises:
            LeaseLostError: somebody else holds the job; nothing was written.
        """
        self._refuse_late(change)
        written = await self._commit.submit(change)
        self._standing.written(written)
        if written.verdict == "lost":
            raise LeaseLostError(change.job_id)
        return written

    async def finish(self, change: Change) -> None:
        """Have the end of the attempt written; nothing may follow it.

        Raises:
            LeaseLostError: see `write`.
        """
        written = self.write(change)
        self._is_closed = True
        await written

    def _refuse_late(self, change: Change) -> None:
        """A thread that was given up must not write behind the end."""
        if self._is_closed and change.move is None:
            raise LeaseLostError(change.job_id)

    def tell(self, change: Change) -> None:
        """Have *change* written without waiting for it."""
        self._commit.enqueue(change)

    def report(self, name: str, key: str, done: float, total: float, message: str | None) -> None:
        text = None if message is None else safe_text(str(message), 500)
        self._on_progress(name, key, Progress(done=_finite(done), total=_finite(total), message=text))

    async def log(self, key: str | None, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """Add a line to the history; past 10,000 of a job they are counted instead."""
        if self._logged >= MAX_LOG_EVENTS:
            self.dropped_logs += 1
            return
        self._logged += 1
        word = str(level)
        change = self._records.empty()
        change.events.append(
            write(
                LogWritten(
                    level=word if word in _LEVELS else "info",
                    message=_clip(str(message)),
                    fields=plain_fields(fields),
                    step=key,
                )
            )
        )
        await self.write(change)

    async def save_file(self, key: str, name: str, source: bytes | Path, media_type: str) -> UUID:
        """Keep bytes or the file at a path; a name that the step saved before is replaced."""
        try:
            check_name(name)
        except FileNameError as error:
            raise PermanentError(str(error), code="file_invalid") from error
        claim = self._claim
        file_id = uuid5(claim.job_id, f"{key}/{name}")
        try:
            stored = await asyncio.to_thread(self._blobs.put, file_id, source)
        except BlobTooLargeError as error:
            raise PermanentError(f"{name}: {error}", code="file_too_large") from error
        except FileNotFoundError as error:
            raise PermanentError(f"{name}: there is nothing at that path", code="file_invalid") from error
        new = NewFile(
            id=file_id,
            step=key,
            name=name,
            media_type=check_media_type(media_type),
            size=stored.size,
            sha256=stored.sha256,
        )
        summary = FileSummary(
            id=file_id,
            job_id=claim.job_id,
            step=key,
            name=name,
            media_type=new.media_type,
            size=new.size,
            sha256=new.sha256.hex(),
            created_at=claim.now(),
        )
        change = self._records.empty()
        change.files.append(new)
        change.events.append(write(FileCreated(file=summary)))
        try:
            await self.write(change)
        except LeaseLostError:
            with contextlib.suppress(OSError):
                self._blobs.path(file_id, stored.sha256).unlink(missing_ok=True)
            raise
        return file_id

    async def file_path(self, file_id: UUID | str) -> Path:
        """Where the bytes of a file of the job's owner lie.

        Raises:
            PermanentError: no such file, or somebody else's.
        """
        try:
            wanted = file_id if isinstance(file_id, UUID) else UUID(str(file_id))
        except ValueError as error:
            raise PermanentError(f"{file_id!r} is not the id of a file", code="file_not_found") from error
        sha256 = await sha256_of(self._database, wanted, self._claim.owner_id)
        if sha256 is None:
            raise PermanentError(f"there is no file {wanted}", code="file_not_found")
        return self._blobs.path(wanted, sha256)

    def output(self, step: StepHandle | str) -> str:
        """What an earlier step returned, as JSON.

        Raises:
            PermanentError: that step has not ended.
        """
        name = step.name if isinstance(step, StepHandle) else step
        if name not in self.outputs:
            raise PermanentError(
                f"step {name!r} has not ended: let this one come after it", code="output_missing"
            )
        return self.outputs[name]


def _finite(value: float) -> float:
    number = float(value)
    return number if math.isfinite(number) else 0.0


def _clip(message: str) -> str:
    return safe_text(message, MAX_LOG_BYTES)
