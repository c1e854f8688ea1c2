"""Whether a long queue or a long past slows a worker down, and whether its memory grows.

The drain rate of the same number of jobs is measured over a short queue, a long queue and a table full of
finished jobs; the memory of the worker is that of its process after half of the jobs and after all.
"""

import asyncio
from typing import Any, Final

import asyncpg
from common import EMPTY, Stage, arguments, fetch, owner_of, processes, report, rss_mib, stage

# Their ids rise with time, as those that are made by us do.
_FILL: Final = """
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  event_seq, created_at, updated_at, finished_at)
SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       $1, 'noop', 1, $3::text, '{}', '{}', 'default', 5, now(),
       now() - interval '300 seconds', 0, now(), now(), CASE WHEN $3::text = 'succeeded' THEN now() END
FROM generate_series(1, $2) n
"""
_DONE: Final = "SELECT count(*) FROM step_runs WHERE state = 'succeeded'"
_RATE: Final = """
SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8 AS rate FROM (
    SELECT finished_at FROM jobs WHERE started_at IS NOT NULL AND finished_at IS NOT NULL
    ORDER BY finished_at LIMIT $1
) AS first
"""


def main() -> None:
    wanted = arguments(__doc__, jobs=40_000, queued=1_000_000, finished=5_000_000)
    figures: dict[str, Any] = {}
    with stage() as made:
        short = asyncio.run(rate(made, wanted.jobs, 0, 0))
        long = asyncio.run(rate(made, wanted.jobs, wanted.queued, 0))
        figures["short queue: jobs/s"] = short["rate"]
        figures[f"{wanted.queued:,} queued: jobs/s"] = long["rate"]
        figures["long queue / short queue"] = long["rate"] / short["rate"]
        old = asyncio.run(rate(made, wanted.jobs, 0, wanted.finished))
        figures[f"{wanted.finished:,} finished: jobs/s"] = old["rate"]
        figures["long past / no past"] = old["rate"] / short["rate"]
        figures["worker RSS, MiB, first half"] = long["half"]
        figures["worker RSS, MiB, at the end"] = long["end"]
    report(f"backlog, {wanted.jobs:,} jobs measured", figures, wanted.json)


async def rate(made: Stage, jobs: int, queued: int, finished: int) -> dict[str, float]:
    """Jobs a second for the first *jobs*, with so many more queued, and so many finished before."""
    connection = await asyncpg.connect(made.database_url)
    try:
        owner = await owner_of(made.database_url)
        await connection.execute(EMPTY)
        for state, count in (("succeeded", finished), ("queued", jobs + queued)):
            await connection.execute(_FILL, owner, count, state, timeout=1800)
        await connection.execute("VACUUM ANALYZE jobs", timeout=1800)
        await connection.execute("CHECKPOINT", timeout=600)
        with processes(made, ["worker", "--alone", "--concurrency", "200"]) as (worker,):
            half = await until_done(connection, jobs // 2, worker)
            end = await until_done(connection, jobs, worker)
        (row,) = await fetch(made.database_url, _RATE, jobs)
    finally:
        await connection.close()
    return {"rate": row["rate"], "half": half, "end": end}


async def until_done(connection: asyncpg.Connection, jobs: int, worker: int) -> float:
    """Wait until that many are done; returns the worker's memory then."""
    for _ in range(6000):
        if await connection.fetchval(_DONE) >= jobs:
            return rss_mib(worker)
        await asyncio.sleep(0.25)
    raise TimeoutError(f"{jobs} jobs were not done in time")


if __name__ == "__main__":
    main()
