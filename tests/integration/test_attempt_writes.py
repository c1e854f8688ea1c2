"""Claims and writes of attempts against the real SQL: fences, write numbers, cancels, locked rows."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.database import DatabaseBusyError
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobError, LogWritten
from headrace.domain.jobs.attempts.changes import JobMove, StepChange
from headrace.domain.jobs.attempts.claims import Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.states import JobState, StepState
from support.attempts import LEASE, SUCCESS, change, history, lose, queue_job, queue_of, row
from support.lease_driver import sweep


async def test_jobs_are_claimed_in_claim_order(ready: StatementPool) -> None:
    late = await queue_job(ready, due_in=-1)
    early = await queue_job(ready, due_in=-50)
    urgent = await queue_job(ready, due_in=-1, priority=9)
    future = await queue_job(ready, due_in=60, priority=9)

    claims = await queue_of(ready).claim(10)

    assert [claim.job_id for claim in claims] == [urgent, early, late]
    assert (await row(ready, future))["state"] == "queued"


async def test_an_old_job_of_low_priority_is_not_starved(ready: StatementPool) -> None:
    old = await queue_job(ready, due_in=-10 * 60, priority=0)
    for _ in range(3):
        await queue_job(ready, due_in=-1, priority=9)

    assert (await queue_of(ready).claim(1))[0].job_id == old


async def test_two_workers_never_claim_the_same_job(ready: StatementPool) -> None:
    jobs = [await queue_job(ready) for _ in range(60)]
    workers = [queue_of(ready, f"w{number}") for number in range(4)]

    claimed = await asyncio.gather(*(worker.claim(7) for worker in workers for _ in range(5)))

    ids = [claim.job_id for claims in claimed for claim in claims]
    assert sorted(ids) == sorted(jobs)


async def test_a_worker_claims_only_its_queues_and_pipelines(ready: StatementPool) -> None:
    mine = await queue_job(ready, queue="b")
    await queue_job(ready, queue="c")

    claims = await queue_of(ready, queues=("a", "b")).claim(10)

    assert [claim.job_id for claim in claims] == [mine]
    stranger = JobQueue(
        ready, Worker(id="w", queues=("c",), pipelines=("noop@2",), concurrency=1, lease=LEASE)
    )
    assert await stranger.claim(10) == []


async def test_a_change_sent_twice_is_written_once(ready: StatementPool) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)

    first = (await worker.write([change(claim, 1)]))[claim.job_id][0]
    again = (await worker.write([change(claim, 1)]))[claim.job_id][0]

    assert (first.verdict, again.verdict) == ("applied", "applied")
    assert await history(ready, claim.job_id) == [(1, "job.started"), (2, "log")]


async def test_a_repeated_finish_is_acknowledged_and_written_once(ready: StatementPool) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    await worker.write([change(claim, 1, SUCCESS)])

    again = (await worker.write([change(claim, 1, SUCCESS)]))[claim.job_id][0]

    assert again.verdict == "applied"
    assert [kind for _, kind in await history(ready, claim.job_id)] == ["job.started", "log", "job.succeeded"]


async def test_writes_of_a_lost_attempt_change_nothing(ready: StatementPool) -> None:
    job_id = await queue_job(ready)
    slow, quick = queue_of(ready, "slow"), queue_of(ready, "quick")
    (old,) = await slow.claim(1)
    await lose(ready, old)
    await sweep(quick)
    waiting = (await slow.write([change(old, 1)]))[job_id][0]
    (new,) = await quick.claim(1)
    before = await history(ready, job_id)

    running = (await slow.write([change(old, 2, SUCCESS)]))[job_id][0]

    assert (waiting.verdict, running.verdict) == ("lost", "lost")
    assert await history(ready, job_id) == before
    assert (await row(ready, job_id))["fence"] == new.fence == old.fence + 1


async def test_a_write_for_a_deleted_job_is_reported_as_lost(ready: StatementPool) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    await ready.fetch("DELETE FROM jobs")

    assert (await worker.write([change(claim, 1)]))[claim.job_id][0].verdict == "lost"


@pytest.mark.parametrize(
    "move",
    [
        SUCCESS,
        JobMove(target=JobState.FAILED, error=JobError(code="x", message="y")),
        JobMove(target=JobState.QUEUED, delay_seconds=5),
    ],
)
async def test_a_requested_cancel_overrules_any_other_outcome(ready: StatementPool, move: JobMove) -> None:
    await queue_job(ready)
    worker = queue_of(ready)
    (claim,) = await worker.claim(1)
    await ready.fetch("UPDATE jobs SET cancel_requested_at = now()")
    ended = change(claim, 1, move)
    if move.target is JobState.QUEUED:
        ended.events.append(encode_event(LogWritten(level="info", message="stands for job.requeued")))
    ended.steps["s"] = StepChange(key="s", index=None, state=StepState.PENDING)

    _, news = (await worker.write([ended]))[claim.job_id]

    job = await row(ready, claim.job_id)
    assert (job["state"], job["result"], job["error"]) == ("cancelled", None, None)
    assert [kind for _, kind in await history(ready, claim.job_id)] == ["job.started", "log", "job.cancelled"]
    assert news is not None
    assert [event.type for event in news.events] == ["log", "job.cancelled"]
    assert news.state == "cancelled"
    assert (await ready.fetch("SELECT state FROM step_runs"))[0]["state"] == "cancelled"


async def test_a_heartbeat_renews_leases_and_returns_the_held_claims(ready: StatementPool) -> None:
    await queue_job(ready)
    worker, other = queue_of(ready), queue_of(ready, "other")
    (claim,) = await worker.claim(1)
    await lose(ready, claim)

    held = await worker.renew([(claim.job_id, claim.fence, 0.5, '{"s": {"done": 1, "total": 2}}')])

    assert held == {(claim.job_id, claim.fence)}
    assert await other.renew([]) == set()
    assert await sweep(other) == []
    assert (await row(ready, claim.job_id))["progress"] == 0.5


async def test_heartbeats_and_batches_do_not_deadlock(ready: StatementPool) -> None:
    for _ in range(60):
        await queue_job(ready)
    worker = queue_of(ready)
    claims = await worker.claim(60)

    async def beat() -> None:
        for _ in range(30):
            await worker.renew([])

    async def batch(backwards: bool) -> None:
        mine = claims[::-1] if backwards else claims
        for number in range(1, 31):
            await worker.write([change(claim, number + (100 if backwards else 0)) for claim in mine])

    await asyncio.gather(beat(), batch(False), batch(True))

    for claim in claims:
        seqs = [seq for seq, _ in await history(ready, claim.job_id)]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_a_locked_row_does_not_cost_other_jobs_their_leases(
    ready: StatementPool, database_url: str
) -> None:
    for _ in range(3):
        await queue_job(ready)
    worker = queue_of(ready)
    held, *others = await worker.claim(3)
    await ready.fetch("UPDATE jobs SET lease_expires_at = '2000-01-01'")
    stranger = await asyncpg.connect(database_url)
    async with stranger.transaction():
        await stranger.fetch("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", held.job_id)
        quick = await StatementPool.open(database_url, lock_timeout=timedelta(milliseconds=50))
        impatient = queue_of(quick)

        with pytest.raises(DatabaseBusyError):
            await impatient.renew([])
        still = await impatient.renew([], skip_locked=True)

        await quick.close()
    await stranger.close()
    assert still == {(claim.job_id, claim.fence) for claim in (held, *others)}
    lost = {news.job_id for news in await sweep(queue_of(ready, "other"))}
    assert lost == {held.job_id}


async def test_most_rows_of_jobs_and_steps_stay_in_their_pages_until_they_end(ready: StatementPool) -> None:
    jobs = [await queue_job(ready) for _ in range(60)]
    worker = queue_of(ready)
    queued = await pages(ready, "jobs", "id")
    claims = await worker.claim(len(jobs))
    begun = [change(claim, 1) for claim in claims]
    for started in begun:
        started.steps["a"] = StepChange(key="a", index=None, state=StepState.RUNNING, started=True)
    await worker.write(begun)
    running = await pages(ready, "step_runs", "job_id")
    ended = [change(claim, 2) for claim in claims]
    for succeeded in ended:
        succeeded.steps["a"] = StepChange(key="a", index=None, state=StepState.SUCCEEDED, output="null")
    await worker.write(ended)

    assert len(set(queued.values())) > 1
    for earlier, later in (
        (queued, await pages(ready, "jobs", "id")),
        (running, await pages(ready, "step_runs", "job_id")),
    ):
        moved = [job_id for job_id in jobs if later[job_id] != earlier[job_id]]
        assert len(moved) < len(jobs) / 2


async def pages(database: StatementPool, table: str, key: str) -> dict[UUID, int]:
    """Return the page of each row of *table*."""
    rows = await database.fetch(f"SELECT {key} AS id, (ctid::text::point)[0]::int AS page FROM {table}")  # noqa: S608
    return {row["id"]: row["page"] for row in rows}
