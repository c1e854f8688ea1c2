"""Holds the objects that all attempts of a worker share: pipelines, connections, slots and limits."""

import asyncio
from pathlib import Path
from typing import Any

from msgspec import Struct

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.group_commit import GroupCommit
from headrace.adapters.tasks import retrieve_exception
from headrace.adapters.tracing.tracing import Tracing
from headrace.domain.database import Database
from headrace.domain.events.news import Publisher
from headrace.domain.pipelines.definition import Pipeline
from headrace.workers.attempt.job_files import FileLimits
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.crash_record import CrashRecord
from headrace.workers.job_log import JobLog
from headrace.workers.monitor import Monitor
from headrace.workers.outputs import OutputLimits
from headrace.workers.slots import Slots


class WorkerResources(Struct, kw_only=True):
    """The shared objects that an attempt gets from its worker process.

    *pipelines* and *sources* (where a child process loads the pipeline from) are keyed by name and version.
    *thread_slots* come in addition to the one thread that each attempt may always use.
    *retries_at_once*: tries follow each other without a pause, as in an author's tests. *step_log_level* is
    the level from which on `logging` of steps is in the logs of jobs. *log_level*, *logs_json* and *secrets*
    are for the logs of step processes. *monitor* receives what the worker's metrics count, *tracing* makes
    spans. *abandoned* counts the calls of an author's code that still run although their tries are over.
    """

    pipelines: dict[tuple[str, int], Pipeline]
    sources: dict[tuple[str, int], str]
    commit: GroupCommit
    publisher: Publisher
    database: Database
    blobs: BlobStore
    scratch: Path
    process_slots: Slots
    thread_slots: Slots
    max_output_bytes: int
    max_items_bytes: int
    output_limits: OutputLimits
    file_limits: FileLimits
    crash_record: CrashRecord
    fork_server: ForkServer
    job_log: JobLog
    log_level: str
    step_log_level: str
    logs_json: bool
    secrets: tuple[str, ...]
    monitor: Monitor | None = None
    tracing: Tracing | None = None
    retries_at_once: bool = False
    abandoned: int = 0

    def abandon(self, call: "asyncio.Future[Any]") -> None:
        """Count *call* until it ends."""
        self.abandoned += 1
        call.add_done_callback(self._on_abandoned_end)

    def _on_abandoned_end(self, call: "asyncio.Future[Any]") -> None:
        self.abandoned -= 1
        retrieve_exception(call)
