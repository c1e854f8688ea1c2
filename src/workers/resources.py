"""Holds the objects that all attempts of a worker share: pipelines, connections, slots and limits."""

from pathlib import Path

from msgspec import Struct

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.group_commit import GroupCommit
from headrace.domain.database import Database
from headrace.domain.events.news import Publisher
from headrace.domain.pipelines.definition import Pipeline
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.crash_record import CrashRecord
from headrace.workers.outputs import OutputLimits
from headrace.workers.slots import Slots


class WorkerResources(Struct, kw_only=True):
    """The shared objects that an attempt gets from its worker process.

    *pipelines* and *sources* (where a child process loads the pipeline from) are keyed by name and version.
    *thread_slots* come in addition to the one thread that each attempt may always use.
    *log_level*, *logs_json* and *secrets* are for the logs of step processes. *abandoned* counts calls of an
    author's code that could not be ended; each keeps its slot forever.
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
    crash_record: CrashRecord
    fork_server: ForkServer
    log_level: str
    logs_json: bool
    secrets: tuple[str, ...]
    abandoned: int = 0
