"""The reasons why a queued job does not run yet. Pure."""

from collections.abc import Iterable

from headrace.domain.jobs.claim_rules import SUSPECT_LOSSES


def why_queued(
    pipeline: str,
    queue: str,
    *,
    is_due: bool,
    attempt: int,
    losses: int,
    needs_process: bool,
    serving: Iterable[tuple[set[str], set[str]]],
) -> str:
    """Return the reason why a queued job waits.

    `run_at`: it is delayed · `backoff`: it waits between two attempts · `quarantined`: it is to blame for the
    loss of workers, so it waits for a process of its own · `process_slots_busy`: it is due, and its next step
    runs in a process · `worker_busy`: it is due and a live worker serves it · `no_worker`: none does.

    *pipeline* is `name@version`; *serving* has the queues and pipelines of each live worker.
    """
    if not is_due:
        return "backoff" if attempt else "run_at"
    if not any(queue in queues and pipeline in pipelines for queues, pipelines in serving):
        return "no_worker"
    if losses >= SUSPECT_LOSSES:
        return "quarantined"
    return "process_slots_busy" if needs_process else "worker_busy"
