"""The numbers of queues: what waits in them, what runs, and how many workers an autoscaler should start."""

from datetime import datetime

from msgspec import Struct


class QueueNumbers(Struct, kw_only=True, omit_defaults=True):
    """One queue. *queued* is exact up to a bound, and an estimate or a part beyond it.

    *oldest_due_at*: since when its oldest due job could run; None if no job is due. *workers*: how many live
    workers serve the queue.
    """

    name: str
    queued: int
    oldest_due_at: datetime | None
    running: int
    workers: int
    queued_is_estimate: bool = False


class ScalingNumbers(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an autoscaler needs to know about a queue, over the jobs of all users.

    *value* is *wanted_workers*, under the name that autoscalers expect. *due_soon*: jobs that become due
    within the next minute. *gated*: due jobs that no worker may start. *due_is_estimate*: too many jobs
    are due to count them, so *due* is PostgreSQL's estimate.
    """

    value: int
    due: int
    due_soon: int
    running: int
    gated: int
    oldest_due_seconds: float
    slots_per_worker: int
    wanted_workers: int
    due_is_estimate: bool = False


def wanted_workers(due: int, running: int, slots: int) -> int:
    """Return how many workers with so many slots the due and the running jobs need.

    Running jobs count, so that a busy worker is not surplus.
    """
    return -(-(due + running) // slots)
