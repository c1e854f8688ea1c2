"""The reasons why a queued job does not run yet. Pure."""

from collections.abc import Iterable, Set

from msgspec import Struct

from headrace.domain.jobs.claim_rules import SUSPECT_LOSSES


class ServingWorker(Struct, frozen=True):
    """A live worker: its queues, its pipelines as `name@version`, and how many jobs it runs of how many."""

    queues: Set[str]
    pipelines: Set[str]
    running: int
    concurrency: int


def why_queued(
    pipeline: str,
    queue: str,
    *,
    is_due: bool,
    attempt: int,
    losses: int,
    needs_process: bool,
    serving: Iterable[ServingWorker],
) -> str | None:
    """Return the reason why a queued job waits; None if a worker is about to start it.

    `run_at`: it is delayed · `backoff`: it waits between two attempts · `quarantined`: it is to blame for the
    loss of workers, so it waits for a process of its own · `process_slots_busy`: it is due, its next step
    runs in a process, and no worker that serves it is idle · `worker_busy`: it is due, and every live worker
    that serves it is full · `no_worker`: none does.

    *pipeline* is `name@version`.
    """
    if not is_due:
        return "backoff" if attempt else "run_at"
    workers = [worker for worker in serving if queue in worker.queues and pipeline in worker.pipelines]
    if not workers:
        return "no_worker"
    if losses >= SUSPECT_LOSSES:
        return "quarantined"
    if needs_process:
        # Only a worker that runs nothing is known to have a free process slot.
        return None if any(worker.running == 0 for worker in workers) else "process_slots_busy"
    is_full = all(worker.running >= worker.concurrency for worker in workers)
    return "worker_busy" if is_full else None
