"""Queries about queues, each of which reads a bounded number of jobs however many there are."""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from headrace.domain.database import Database
from headrace.domain.plan_estimates import planned_rows
from headrace.domain.queues import queue_sql
from headrace.domain.queues.models import QueueNumbers, ScalingNumbers, wanted_workers
from headrace.domain.workers.directory import MAX_RUNNING

MAX_QUEUES: Final = 1_000
MAX_COUNTED: Final = 10_000
MIN_DUE: Final = 1_000
"""At least so many due jobs are counted for autoscalers, which ask often."""
MAX_DELAYED: Final = 1_000
"""Up to so many delayed jobs are counted to tell them from due ones, if there are too many to count these."""
# For an autoscaler, as many due jobs are counted as so many workers run.
_COUNTED_WORKERS: Final = 100
_MAX_COUNTED_IN_ALL: Final = 50_000
_MIN_COUNTED: Final = 100
# A plan for an estimate takes about a millisecond.
_MAX_ESTIMATES: Final = 20
_MAX_OLDEST: Final = 1_000
_MIN_OLDEST: Final = 10


class QueueRepository:
    """The numbers of queues, over all jobs or those of one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_queues(
        self, owner_id: UUID | None, serving: Sequence[Sequence[str]]
    ) -> list[QueueNumbers]:
        """Return the queues that have jobs or workers, by name. *serving*: the queues of each live worker.

        With *owner_id*, only the jobs of that user count.
        """
        running = await self._fetch_running(owner_id)
        workers: dict[str, int] = {}
        for queues in serving:
            for name in queues:
                workers[name] = workers.get(name, 0) + 1
        if owner_id is None:
            rows = await self._database.fetch(queue_sql.NAMES, MAX_QUEUES)
            names = _first_names(workers, {row["queue"] for row in rows} | running.keys())
            queued, is_cut = await self._fetch_queued(names), False
        else:
            queued, is_cut = await self._fetch_queued_of(owner_id)
            names = _first_names(workers, queued.keys() | running.keys())
        nothing = (0, None, is_cut)
        return [
            QueueNumbers(
                name=name,
                queued=count,
                oldest_due_at=oldest,
                running=running.get(name, 0),
                workers=workers.get(name, 0),
                queued_is_estimate=is_estimate,
            )
            for name in names
            for count, oldest, is_estimate in [queued.get(name, nothing)]
        ]

    async def fetch_scaling(self, queue: str, slots: int) -> ScalingNumbers:
        """Return the numbers of one queue for an autoscaler whose workers have so many *slots*."""
        most = min(max(_COUNTED_WORKERS * slots, MIN_DUE), MAX_COUNTED)
        (row,) = await self._database.fetch(queue_sql.SCALING, [queue], most, _MAX_OLDEST, MAX_RUNNING)
        due, is_estimate = row["due"], row["due"] >= most
        if is_estimate:
            due = max(due, await self._estimate_due(queue))
        due += row["suspects"]
        wanted = wanted_workers(due, row["running"], slots)
        return ScalingNumbers(
            value=wanted,
            due=due,
            due_soon=row["due_soon"],
            running=row["running"],
            gated=0,
            oldest_due_seconds=max(row["oldest_due_seconds"], 0.0),
            slots_per_worker=slots,
            wanted_workers=wanted,
            due_is_estimate=is_estimate,
        )

    async def _estimate_due(self, queue: str) -> int:
        """Return how many queued jobs the planner expects in *queue*, less those that are not due."""
        queued = planned_rows(await self._database.fetch(queue_sql.ESTIMATE, queue))
        (row,) = await self._database.fetch(queue_sql.DELAYED, [queue], MAX_DELAYED)
        delayed: int = row["delayed"]
        if delayed >= MAX_DELAYED:
            plan = await self._database.fetch(queue_sql.ESTIMATE_OF_DELAYED, queue)
            delayed = max(delayed, planned_rows(plan))
        return queued - delayed

    async def _fetch_running(self, owner_id: UUID | None) -> Mapping[str, int]:
        rows = await self._database.fetch(queue_sql.RUNNING, owner_id, MAX_RUNNING)
        return {row["name"]: row["running"] for row in rows}

    async def _fetch_queued(self, names: Sequence[str]) -> dict[str, tuple[int, datetime | None, bool]]:
        if not names:
            return {}
        counted = min(MAX_COUNTED, max(_MAX_COUNTED_IN_ALL // len(names), _MIN_COUNTED))
        oldest = min(_MAX_OLDEST, max(MAX_COUNTED // len(names), _MIN_OLDEST))
        rows = await self._database.fetch(queue_sql.QUEUED, list(names), counted + 1, oldest)
        queued: dict[str, tuple[int, Any, bool]] = {}
        estimates = 0
        for row in rows:
            count, is_estimate = row["claimable"], row["claimable"] > counted
            if is_estimate and estimates < _MAX_ESTIMATES:
                estimates += 1
                count = max(count, planned_rows(await self._database.fetch(queue_sql.ESTIMATE, row["name"])))
            queued[row["name"]] = (count + row["suspects"], row["oldest_due_at"], is_estimate)
        return queued

    async def _fetch_queued_of(
        self, owner_id: UUID
    ) -> tuple[dict[str, tuple[int, datetime | None, bool]], bool]:
        """Return the numbers of the queues of the owner's oldest jobs, and whether there are more jobs."""
        rows = await self._database.fetch(queue_sql.QUEUED_OF_OWNER, owner_id, MAX_COUNTED + 1)
        counted = total = sum(row["queued"] for row in rows)
        is_estimate = counted > MAX_COUNTED
        if is_estimate:
            plan = await self._database.fetch(queue_sql.ESTIMATE_OF_OWNER, owner_id)
            total = max(counted, planned_rows(plan))
        numbers = {
            row["name"]: (round(row["queued"] * total / counted), row["oldest_due_at"], is_estimate)
            for row in rows
        }
        return numbers, is_estimate


def _first_names(served: Collection[str], others: Set[str]) -> list[str]:
    """Return the names of the queues that are shown, in order. Served queues find room before *others*."""
    return sorted([*sorted(served), *sorted(others - set(served))][:MAX_QUEUES])
