"""Why a queued job does not run yet. Pure."""

from collections.abc import Iterable


def why_queued(
    pipeline: str, queue: str, *, is_due: bool, attempt: int, serving: Iterable[tuple[set[str], set[str]]]
) -> str:
    """`run_at`, `backoff`, `worker_busy` or `no_worker`.

    *pipeline* is `name@version`; *serving* are the (queues, pipelines) of the workers that are alive.
    """
    if not is_due:
        return "backoff" if attempt else "run_at"
    is_served = any(queue in queues and pipeline in pipelines for queues, pipelines in serving)
    return "worker_busy" if is_served else "no_worker"
