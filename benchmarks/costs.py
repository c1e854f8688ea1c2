"""What a number of jobs costs the machine: processor time of the workers and of PostgreSQL, and WAL."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from common import BenchEnv, fetch

_COUNTERS: Final = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS wal,
       (SELECT count(*) FROM jobs WHERE state = 'succeeded') AS jobs
"""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Costs:
    """Totals at one moment: seconds of processor time, bytes of WAL, and jobs that have succeeded."""

    worker_seconds: float
    postgres_seconds: float
    wal_bytes: float
    jobs: int

    def per_job(self, before: "Costs") -> dict[str, float]:
        """Return the costs of each job since *before*: microseconds and kilobytes."""
        jobs = self.jobs - before.jobs
        return {
            "worker CPU us a job": (self.worker_seconds - before.worker_seconds) / jobs * 1e6,
            "PostgreSQL CPU us a job": (self.postgres_seconds - before.postgres_seconds) / jobs * 1e6,
            "WAL kB a job": (self.wal_bytes - before.wal_bytes) / jobs / 1e3,
        }


async def read_costs(env: BenchEnv, workers: Sequence[int]) -> Costs:
    """Read the totals of the worker processes with the ids *workers* and of the benchmark's PostgreSQL."""
    row: asyncpg.Record = (await fetch(env.database_url, _COUNTERS))[0]
    return Costs(
        worker_seconds=sum(map(_cpu_seconds, workers)),
        postgres_seconds=_cpu_seconds(env.postgres_pid),
        wal_bytes=row["wal"],
        jobs=row["jobs"],
    )


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its living descendants and its children that were reaped.

    A connection of PostgreSQL that ends at this moment is left out.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(_cpu_seconds(int(child)) for child in children)
