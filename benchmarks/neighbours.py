"""Measures the start latency of jobs on two workers, without other jobs and beside harmful ones.

Harmful steps raise, kill their process, never yield, use up memory, or return an odd value. One job of
each kind is submitted again as soon as all have ended.
"""

import asyncio
import contextlib
import statistics
from pathlib import Path
from typing import Any, Final

from common import (
    BenchEnv,
    arguments,
    bench_environment,
    fetch,
    percentile,
    processes,
    report,
    runs_of,
    submit_specs,
    until,
)
from start_latency import FLOW, commit_to_entry

from headrace.domain.jobs.submission.submission import JobSpec

_FLOWS: Final = f"{FLOW},{Path(__file__).parent / 'flows' / 'poisons.py'}"
_POISONS: Final = ("raising", "odd", "leaving", "turning", "eating")
_REGISTERED: Final = "SELECT count(*) = 2 FROM pipelines WHERE name IN ('marks', 'eating')"
_POISONS_ENDED: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL AND pipeline <> 'marks')"
)
_COUNT_HARMED: Final = (
    "SELECT count(*) AS n FROM jobs WHERE pipeline = 'marks' AND (state <> 'succeeded' OR attempt > 1)"
)


def main() -> None:
    options = arguments(__doc__, jobs=200)
    with bench_environment() as env, processes(env, *[["worker"]] * 2, HEADRACE_PIPELINES=_FLOWS):
        asyncio.run(until(env.database_url, _REGISTERED))
        figures: dict[str, Any] = runs_of(lambda: asyncio.run(measure(env, options.jobs)))
    report(f"start latency beside poison, {options.jobs} jobs a run", figures, options.json)


async def measure(env: BenchEnv, jobs: int) -> dict[str, float]:
    undisturbed = await commit_to_entry(env, jobs)
    poisoning = asyncio.create_task(poison(env))
    try:
        disturbed = await commit_to_entry(env, jobs)
    finally:
        poisoning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await poisoning
    await until(env.database_url, _POISONS_ENDED, 30)
    (row,) = await fetch(env.database_url, _COUNT_HARMED)
    return {
        "alone, p50 ms": statistics.median(undisturbed),
        "alone, p99 ms": percentile(undisturbed, 0.99),
        "beside poison, p50 ms": statistics.median(disturbed),
        "beside poison, p99 ms": percentile(disturbed, 0.99),
        "p99 beside / alone": percentile(disturbed, 0.99) / percentile(undisturbed, 0.99),
        "neighbours that lost a try": row["n"],
    }


async def poison(env: BenchEnv) -> None:
    """Submit the poison jobs again and again, until cancelled."""
    specs = [JobSpec(pipeline=name, params={}) for name in _POISONS]
    while True:
        await submit_specs(env.database_url, specs)
        await until(env.database_url, _POISONS_ENDED, 30)


if __name__ == "__main__":
    main()
