"""The reasons why a queued job does not run yet. Pure."""

from collections.abc import Iterable


def why_queued(
    pipeline: str, queue: str, *, is_due: bool, attempt: int, serving: Iterable[tuple[set[str], set[str]]]
) -> str:
    """Return the reason why a queued job waits.

    `run_at`: it is delayed · `backoff`: it waits between two attempts · `worker_busy`: it is due and a live
    worker serves it · `no_worker`: no live worker does.

    *pipeline* is `name@version`; *serving* has the queues and pipelines of each live worker.
    """
    if not is_due:
        return "backoff" if attempt else "run_at"
    is_served = any(queue in queues and pipeline in pipelines for queues, pipelines in serving)
    return "worker_busy" if is_served else "no_worker"
