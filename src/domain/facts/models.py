"""What the metrics say about the jobs, workers and tables in PostgreSQL. Pure."""

from msgspec import Struct


class DatabaseFacts(Struct, frozen=True, kw_only=True):
    """The counts of one moment.

    *jobs* by state and pipeline. *due* and *oldest_due_seconds* by queue, *waiting* by reason (see
    `domain.jobs.waiting`), *unserved* by pipeline and version: due jobs that no live worker serves. *workers*
    by queue, with 0 for a queue that has jobs and no worker. *connections*: those to PostgreSQL, of all its
    users, of *max_connections*.
    """

    jobs: dict[tuple[str, str], int]
    due: dict[str, int]
    oldest_due_seconds: dict[str, float]
    waiting: dict[str, int]
    unserved: dict[tuple[str, str], int]
    workers: dict[str, int]
    table_bytes: dict[str, int]
    connections: int
    max_connections: int


class Lane(Struct, frozen=True, kw_only=True):
    """The queued jobs of one queue, one pipeline version and one kind of next step: see `claim_sql`.

    *due* and *later* are counted up to *limit*. *losses* is that of a suspect, or 0.
    """

    queue: str
    pipeline: str
    version: int
    needs_process: bool
    due: int
    later: int
    limit: int
    oldest_due_seconds: float | None
    losses: int = 0

    @property
    def is_beyond_limit(self) -> bool:
        return self.due >= self.limit or self.later >= self.limit


class Sample(Struct, frozen=True):
    """The jobs of one state, pipeline and queue, estimated from a part of the table unless it is small."""

    state: str
    pipeline: str
    queue: str
    count: int
