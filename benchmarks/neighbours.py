"""What poison does to its neighbours: their start latency beside nothing, and beside jobs that do harm.

Two workers. The harm: a step that raises, one that kills its process, one that never yields, one that eats
memory, one whose output cannot be stored; one of each is submitted again as soon as all are over.
"""

import asyncio
import contextlib
import statistics
from pathlib import Path
from typing import Any, Final

from common import (
    Stage,
    arguments,
    fetch,
    percentile,
    processes,
    report,
    runs_of,
    stage,
    submit_orders,
    until,
)
from start_latency import FLOW, commit_to_entry

from headrace.domain.jobs.submission.submission import JobSpec

_FLOWS: Final = f"{FLOW},{Path(__file__).parent / 'flows' / 'poisons.py'}"
_POISONS: Final = ("raising", "odd", "leaving", "turning", "eating")
_KNOWN: Final = "SELECT count(*) = 2 FROM pipelines WHERE name IN ('marks', 'eating')"
_OVER: Final = "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL AND pipeline <> 'marks')"
_HARMED: Final = (
    "SELECT count(*) AS n FROM jobs WHERE pipeline = 'marks' AND (state <> 'succeeded' OR attempt > 1)"
)


def main() -> None:
    wanted = arguments(__doc__, jobs=200)
    with stage() as made, processes(made, *[["worker"]] * 2, HEADRACE_PIPELINES=_FLOWS):
        asyncio.run(until(made.database_url, _KNOWN))
        figures: dict[str, Any] = runs_of(lambda: asyncio.run(measure(made, wanted.jobs)))
    report(f"start latency beside poison, {wanted.jobs} jobs a run", figures, wanted.json)


async def measure(made: Stage, jobs: int) -> dict[str, float]:
    calm = await commit_to_entry(made, jobs)
    poisoning = asyncio.create_task(poison(made))
    try:
        harmed = await commit_to_entry(made, jobs)
    finally:
        poisoning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await poisoning
    await until(made.database_url, _OVER, 30)
    (row,) = await fetch(made.database_url, _HARMED)
    return {
        "alone, p50 ms": statistics.median(calm),
        "alone, p99 ms": percentile(calm, 0.99),
        "beside poison, p50 ms": statistics.median(harmed),
        "beside poison, p99 ms": percentile(harmed, 0.99),
        "p99 beside / alone": percentile(harmed, 0.99) / percentile(calm, 0.99),
        "neighbours that lost a try": row["n"],
    }


async def poison(made: Stage) -> None:
    """Until cancelled."""
    orders = [JobSpec(pipeline=name, params={}) for name in _POISONS]
    while True:
        await submit_orders(made.database_url, orders)
        await until(made.database_url, _OVER, 30)


if __name__ == "__main__":
    main()
