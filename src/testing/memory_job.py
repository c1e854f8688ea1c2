"""The store of one job in memory: it takes the changes that an attempt writes, and keeps what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from headrace.adapters.blob_store import BlobStore
from headrace.domain.database import Row
from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.news import FrameSource, JobNews
from headrace.domain.events.types import JobError, Progress
from headrace.domain.files.lookup import BLOB_KEY
from headrace.domain.jobs.attempts.changes import Change, JobMove, NewFile, WriteResult
from headrace.domain.jobs.attempts.stored_items import split_items
from headrace.domain.jobs.states import JobState
from headrace.domain.pipelines.definition import Pipeline, StepHandle
from headrace.testing.job_run import JobRun, LogEntry, ProgressReport, SavedFile, StepOutcome

FIRST_HEAD: Final = 2
"""The number of the newest event of a job that has just been started: `job.queued` and `job.started`."""


class EventFields(Struct):
    """The fields that the events of steps and logs have. *index*: the item of a `for_each` step."""

    step: str = ""
    index: int | None = None
    error: JobError | None = None
    level: str = ""
    message: str = ""
    fields: dict[str, Any] = {}


class MemoryJob:
    """What PostgreSQL holds of one job. It implements `headrace.domain.database.Database` for its steps."""

    def __init__(self, pipeline: Pipeline, blobs: BlobStore, files: Mapping[UUID, bytes | Path]) -> None:
        """*files* are those that the job's owner has uploaded."""
        self._pipeline = pipeline
        self._blobs = blobs
        self._blob_keys = {file_id: blobs.put(file_id, content).key for file_id, content in files.items()}
        self._items: dict[str, list[str]] = {}
        self._outputs: dict[str, str] = {}
        self._steps: dict[str, StepOutcome] = {}
        self._logs: list[LogEntry] = []
        self._progress: list[ProgressReport] = []
        self._files: dict[UUID, NewFile] = {}
        self._move = JobMove(target=JobState.RUNNING)
        self._head = FIRST_HEAD

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        """Return the rows of what a step asks for: the bytes of a file. Nothing else is stored."""
        if statement == BLOB_KEY and arguments[0] in self._blob_keys:
            return [{"blob_key": self._blob_keys[arguments[0]]}]
        return []

    async def write(self, changes: Sequence[Change]) -> dict[UUID, tuple[WriteResult, JobNews | None]]:
        """Store changes, as a group commit sends them."""
        results: dict[UUID, tuple[WriteResult, JobNews | None]] = {}
        for change in changes:
            self._store(change)
            results[change.job_id] = (WriteResult(verdict="applied", head=self._head), None)
        return results

    def on_report(self, key: str, progress: Progress) -> None:
        """Keep a report of progress."""
        self._progress.append(
            ProgressReport(step=key, done=progress.done, total=progress.total, message=progress.message)
        )

    def record(self) -> JobRun:
        """Return what has happened."""
        for run in self._steps.values():
            node = self._pipeline.nodes[run.name]
            if run.index is not None:
                run.item = node.decode_item(self._items[run.name][run.index])
            if run.state == "succeeded":
                run.output = node.decode_output(self._outputs.get(run.key, "null"))
        return JobRun(
            state=self._move.target.value,
            result=self._result(),
            error=self._move.error,
            steps=list(self._steps.values()),
            logs=self._logs,
            progress=self._progress,
            files=[self._saved_file(file) for file in self._files.values()],
        )

    def _store(self, change: Change) -> None:
        self._head += len(change.events)
        for key, row in change.steps.items():
            if row.items is not None:
                self._items[key] = list(split_items(row.items))
            if row.output is not None:
                self._outputs[key] = row.output
        for file in change.files:
            self._files[file.id] = file
            self._blob_keys[file.id] = file.blob_key
        for event in change.events:
            self._on_event(event)
        for key in change.steps.keys() & self._steps.keys():
            self._steps[key].state = change.steps[key].state.value
        if change.move is not None:
            self._move = change.move

    def _on_event(self, event: EncodedEvent) -> None:
        match event.type:
            case "log":
                line = msgspec.json.decode(event.body, type=EventFields)
                self._logs.append(
                    LogEntry(step=line.step, level=line.level, message=line.message, fields=line.fields)
                )
            case "step.started":
                self._run_of(event).tries += 1
            case "step.failed":
                self._run_of(event)

    def _run_of(self, event: EncodedEvent) -> StepOutcome:
        """Return the step run of an event, with the error of the event."""
        fields = msgspec.json.decode(event.body, type=EventFields)
        key = fields.step if fields.index is None else f"{fields.step}[{fields.index}]"
        run = self._steps.setdefault(key, StepOutcome(name=fields.step, key=key, index=fields.index))
        if fields.error is not None:
            run.errors.append(fields.error)
        return run

    def _result(self) -> Any:
        if self._move.result_step is None:
            node = next((node for node in self._pipeline.nodes.values() if node.is_result), None)
            if node is None or self._move.result is None:
                return None
            return self._pipeline.decode_output(StepHandle(self._pipeline.name, node.name), self._move.result)
        runs = [run for run in self._steps.values() if run.name == self._move.result_step]
        outputs = [run.output for run in sorted(runs, key=lambda run: run.index or 0)]
        return outputs if self._pipeline.nodes[self._move.result_step].for_each else outputs[0]

    def _saved_file(self, file: NewFile) -> SavedFile:
        return SavedFile(
            id=file.id,
            step=file.step,
            name=file.name,
            media_type=file.media_type,
            content=self._blobs.path(file.id, file.blob_key).read_bytes(),
        )


class Silence:
    """A publisher without watchers; it implements `headrace.domain.events.news.Publisher`."""

    def publish(self, news: Sequence[JobNews]) -> None: ...

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None: ...
