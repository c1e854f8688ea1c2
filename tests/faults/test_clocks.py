"""A worker whose clock is an hour wrong behaves like any other, because PostgreSQL's time decides.

A first start with such a clock is refused, so these workers have had a predecessor.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from faults import processes, skewed
from faults.checker import assert_kept
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from headrace.workers.supervisor import RESTARTED
from support.harness import serving, working
from support.patience import STALL_SECONDS

HOUR = 3600.0


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
async def test_a_worker_with_a_wrong_clock_starts_jobs_once_and_on_time(
    patient: Settings, database: StatementPool, ledger: Path, offset: float
) -> None:
    async with (
        serving(patient) as api,
        processes.worker(patient, RESTARTED, command=skewed.command(offset)) as wrong,
    ):
        load = Load(api.http, ledger, hold_seconds=0.5)
        await load.submit_many(5)
        (again,) = await load.submit_many(1, pipeline="second_wind")
        due = datetime.now(UTC) + timedelta(seconds=2)
        delayed = await api.submit("relay", params={"ledger": str(ledger)}, run_at=due.isoformat())
        await settled(database, [*load.accepted, delayed["id"]])

        kept = await assert_kept(api, database, [*load.accepted, delayed["id"]], ledger)
        assert wrong.process.returncode is None

    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
    assert {job_id for job_id, job in kept.items() if job.attempt > 1} == {again}
    (started,) = kept[delayed["id"]].of_type("job.started")
    assert 0 <= started.at - due.timestamp() < STALL_SECONDS
    first, second = kept[again].of_type("job.started")
    assert 1.5 <= second.at - first.at < 1.5 + STALL_SECONDS


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
async def test_a_worker_with_a_wrong_clock_neither_takes_nor_loses_leases(
    faulty: Settings, database: StatementPool, ledger: Path, offset: float
) -> None:
    async with (
        serving(faulty) as api,
        working(faulty, concurrency=5),
        processes.worker(faulty, RESTARTED, "--concurrency", "5", command=skewed.command(offset)),
    ):
        load = Load(api.http, ledger, hold_seconds=faulty.lease_seconds * 2)
        await load.submit_many(10)
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert {(job.state, job.attempt) for job in kept.values()} == {("succeeded", 1)}
    assert len({job.of_type("job.started")[0].body["worker"] for job in kept.values()}) == 2


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
async def test_event_times_do_not_come_from_the_workers_clock(
    patient: Settings, database: StatementPool, ledger: Path, offset: float
) -> None:
    async with serving(patient) as api, processes.worker(patient, RESTARTED, command=skewed.command(offset)):
        load = Load(api.http, ledger)
        (again,) = await load.submit_many(1, pipeline="second_wind")
        await settled(database, [again])

        job = (await assert_kept(api, database, [again], ledger))[again]

    (failed,) = job.of_type("step.failed")
    (requeued,) = job.of_type("job.requeued")
    assert abs(seconds(failed.body["retry_at"]) - failed.at) < STALL_SECONDS
    assert abs(seconds(requeued.body["run_at"]) - requeued.at) < STALL_SECONDS
