"""The loops of a worker that keep the database in order, with one report of their outcomes."""

from collections.abc import Coroutine
from typing import Any

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.doorbell import Doorbell
from headrace.adapters.outages import Outage
from headrace.adapters.periodic import run_every
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import Database
from headrace.domain.events.news import Publisher
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.pipelines.registry import CONFIRM_SECONDS, Registrar
from headrace.workers.maintenance.blob_remover import BlobRemover
from headrace.workers.maintenance.chore_report import ChoreReport
from headrace.workers.maintenance.housekeeper import Housekeeper, hourly_chores
from headrace.workers.maintenance.store_watch import StoreWatch
from headrace.workers.maintenance.sweeper import Sweeper


def upkeep_loops(
    database: Database,
    job_queue: JobQueue,
    publisher: Publisher,
    bell: Doorbell,
    registrar: Registrar,
    blobs: BlobStore,
    storage: Outage,
    *,
    only_suspect: bool,
) -> list[Coroutine[Any, Any, None]]:
    """Return the loops, which run until cancelled. With *only_suspect* only those that rescue and tidy."""
    report = ChoreReport(ChoreRepository(database), job_queue.worker.id)
    loops = [
        Sweeper(job_queue, publisher, bell, report).run(),
        Housekeeper(hourly_chores(database), report).run(),
    ]
    if only_suspect:
        return loops
    confirming = run_every(
        CONFIRM_SECONDS,
        report.reporting("registrations", registrar.confirm),
        put_off_event="registrations_put_off",
        failed_event="registrations_failed",
    )
    return [*loops, BlobRemover(database, blobs, report).run(), StoreWatch(storage, report).run(), confirming]
