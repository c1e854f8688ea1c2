"""Creates one partition of the event log, and moves events of its range there from the default partition."""

from typing import Final
from uuid import UUID

from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError

MAX_MOVED_ROWS: Final = 500_000
"""So many rows of a month are moved while jobs run: they lock the event log for one or two seconds."""
_BATCH_SIZE: Final = 10_000

_IS_LARGER: Final = """
SELECT 1 FROM job_changes_rest WHERE job_id >= $1 AND job_id < $2 OFFSET $3 LIMIT 1
"""

# Two workers may create the same table at once; the constraint saves a scan of it when it is attached.
_CREATE_DETACHED: Final = """
DO $$ BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    PERFORM pg_advisory_xact_lock(hashtext('headrace: ' || current_schema() || '.{name}'));
    CREATE TABLE IF NOT EXISTS {name} (
        LIKE job_changes INCLUDING ALL,
        CONSTRAINT {name}_range CHECK (job_id >= '{low}' AND job_id < '{high}')
    ) WITH (
        autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 2000
    );
END $$
"""
_COPY: Final = """
WITH batch AS MATERIALIZED (
    SELECT * FROM job_changes_rest
    WHERE job_id >= $1 AND job_id < $3 AND (job_id, seq) > ($1, $2::int)
    ORDER BY job_id, seq LIMIT $4
), copied AS (
    INSERT INTO {name} SELECT * FROM batch ON CONFLICT DO NOTHING
)
SELECT job_id, seq FROM batch ORDER BY job_id DESC, seq DESC LIMIT 1
"""
# Writers wait for the lock of the log, and the lock waits for running transactions, so its wait is short.
# Since the copy, events may have been written, and jobs deleted with their events.
_ATTACH: Final = """
DO $$ BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    LOCK TABLE job_changes IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (
        SELECT 1 FROM pg_inherits WHERE inhparent = 'job_changes'::regclass AND inhrelid = '{name}'::regclass
    ) THEN RETURN; END IF;
    DELETE FROM {name} c WHERE NOT EXISTS (
        SELECT 1 FROM job_changes_rest r WHERE r.job_id = c.job_id AND r.seq = c.seq);
    INSERT INTO {name} SELECT * FROM job_changes_rest r
    WHERE r.job_id >= '{low}' AND r.job_id < '{high}' AND NOT EXISTS (
        SELECT 1 FROM {name} c WHERE c.job_id = r.job_id AND c.seq = r.seq);
    DELETE FROM job_changes_rest WHERE job_id >= '{low}' AND job_id < '{high}';
    ALTER TABLE job_changes ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}');
    ALTER TABLE {name} DROP CONSTRAINT {name}_range;
END $$
"""


class TooManyRowsError(HeadraceError):
    """A month has too many rows in the default partition to move them while jobs run."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"job_changes_rest has more than {limit} rows of {name}, and all jobs wait while they are moved:"
            " run `headrace migrate` at a quiet time"
        )


class PartitionMover:
    """Every call is safe to repeat, and to run in two workers at once. Readers miss no event meanwhile."""

    def __init__(
        self, database: Database, *, max_rows: int | None = None, batch_size: int = _BATCH_SIZE
    ) -> None:
        """*max_rows*: how many rows are moved to one partition, at most; None: any number."""
        self._database = database
        self._max_rows = max_rows
        self._batch_size = batch_size

    async def move(self, name: str, low: UUID, high: UUID) -> None:
        """Create the partition *name*, and move its events there from the default partition.

        They are copied in batches into a table beside the event log. Only then is the log locked, for the
        rest, the deletion, and the exchange. The time of that grows with their number.

        Raises:
            TooManyRowsError: there are more than the limit; nothing was changed.
        """
        if self._max_rows is not None and await self._has_more(self._max_rows, low, high):
            raise TooManyRowsError(name, self._max_rows)
        await self._database.fetch(_CREATE_DETACHED.format(name=name, low=low, high=high))
        if await self._has_more(0, low, high):
            # With statistics of other events, each batch would sort all that are left.
            await self._database.fetch("ANALYZE job_changes_rest")
            await self._copy(name, low, high)
            await self._database.fetch(f"ANALYZE {name}")
        await self._database.fetch(_ATTACH.format(name=name, low=low, high=high))

    async def _has_more(self, limit: int, low: UUID, high: UUID) -> bool:
        return bool(await self._database.fetch(_IS_LARGER, low, high, limit))

    async def _copy(self, name: str, low: UUID, high: UUID) -> None:
        statement = _COPY.format(name=name)
        position: tuple[UUID, int] = (low, 0)
        while True:
            rows = await self._database.fetch(statement, *position, high, self._batch_size)
            if not rows:
                return
            position = (rows[0]["job_id"], rows[0]["seq"])
