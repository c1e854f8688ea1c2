"""Writes of attempts against the real SQL: fences, write numbers, cancels, losses, claim order."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from headrace.adapters.database import StatementPool
from headrace.domain.database import DatabaseBusyError
from headrace.domain.events.encoding import encode_event
from headrace.domain.events.types import JobError, JobFailed, JobSucceeded, LogWritten, StepSucceeded
from headrace.domain.jobs.attempts.changes import Change, JobMove, StepChange
from headrace.domain.jobs.attempts.claims import Claim, Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.domain.jobs.states import JobState, StepState
from support.lease_driver import OWNER, seed_database, sweep

LEASE = timedelta(seconds=30)


@pytest.fixture
async def ready(database: StatementPool) -> StatementPool:
    """A database with an owner and a pipeline."""
    await seed_database(database)
    return database


async def queue(
    database: StatementPool, *, priority: int = 5, due_in: float = -1, queue: str = "default"
) -> UUID:
    job_id = uuid7()
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, created_at, updated_at) SELECT $1, $2, 'noop', 1, 'queued', '{}', '{}', $5, $3::int, at,"
        " at - $3::int * interval '60 seconds', now(), now()"
        " FROM (SELECT now() + $4::float8 * interval '1 second' AS at) due",
        job_id,
        OWNER,
        priority,
        due_in,
        queue,
    )
    return job_id


def execution(database: StatementPool, name: str = "w1", queues: Sequence[str] = ("default",)) -> JobQueue:
    return JobQueue(
        database, Worker(id=name, queues=tuple(queues), pipelines=("noop@1",), concurrency=10, lease=LEASE)
    )


async def row(database: StatementPool, job_id: UUID) -> Any:
    return (await database.fetch("SELECT * FROM jobs WHERE id = $1", job_id))[0]


async def history(database: StatementPool, job_id: UUID) -> list[tuple[int, str]]:
    rows = await database.fetch("SELECT seq, type FROM job_events WHERE job_id = $1 ORDER BY seq", job_id)
    return [(row["seq"], row["type"]) for row in rows]


def change(claim: Claim, write_no: int, move: JobMove | None = None) -> Change:
    written = Change(job_id=claim.job_id, owner_id=OWNER, fence=claim.fence, write_no=write_no, move=move)
    written.events.append(encode_event(LogWritten(level="info", message=f"change {write_no}")))
    if move is not None and move.target is JobState.SUCCEEDED:
        written.events.append(encode_event(JobSucceeded(result=None)))
    if move is not None and move.error is not None:
        written.events.append(encode_event(JobFailed(error=move.error)))
    return written


SUCCESS = JobMove(target=JobState.SUCCEEDED, result="null")


async def lose(database: StatementPool, claim: Claim) -> None:
    await database.fetch("UPDATE jobs SET lease_expires_at = '2000-01-01' WHERE id = $1", claim.job_id)


async def test_jobs_are_claimed_in_claim_order(ready: StatementPool) -> None:
    late = await queue(ready, due_in=-1)
    early = await queue(ready, due_in=-50)
    urgent = await queue(ready, due_in=-1, priority=9)
    future = await queue(ready, due_in=60, priority=9)

    claims = await execution(ready).claim(10)

    assert [claim.job_id for claim in claims] == [urgent, early, late]
    assert (await row(ready, future))["state"] == "queued"


async def test_an_old_job_of_low_priority_is_not_starved(ready: StatementPool) -> None:
    old = await queue(ready, due_in=-10 * 60, priority=0)
    for _ in range(3):
        await queue(ready, due_in=-1, priority=9)

    assert (await execution(ready).claim(1))[0].job_id == old


async def test_two_workers_never_claim_the_same_job(ready: StatementPool) -> None:
    jobs = [await queue(ready) for _ in range(60)]
    workers = [execution(ready, f"w{number}") for number in range(4)]

    claimed = await asyncio.gather(*(worker.claim(7) for worker in workers for _ in range(5)))

    ids = [claim.job_id for claims in claimed for claim in claims]
    assert sorted(ids) == sorted(jobs)


async def test_a_worker_claims_only_its_queues_and_pipelines(ready: StatementPool) -> None:
    mine = await queue(ready, queue="b")
    await queue(ready, queue="c")

    claims = await execution(ready, queues=("a", "b")).claim(10)

    assert [claim.job_id for claim in claims] == [mine]
    stranger = JobQueue(
        ready, Worker(id="w", queues=("c",), pipelines=("noop@2",), concurrency=1, lease=LEASE)
    )
    assert await stranger.claim(10) == []


async def test_a_change_sent_twice_is_written_once(ready: StatementPool) -> None:
    await queue(ready)
    worker = execution(ready)
    (claim,) = await worker.claim(1)

    first = (await worker.write([change(claim, 1)]))[claim.job_id][0]
    again = (await worker.write([change(claim, 1)]))[claim.job_id][0]

    assert (first.verdict, again.verdict) == ("applied", "applied")
    assert await history(ready, claim.job_id) == [(1, "job.started"), (2, "log")]


async def test_a_repeated_finish_is_acknowledged_and_written_once(ready: StatementPool) -> None:
    await queue(ready)
    worker = execution(ready)
    (claim,) = await worker.claim(1)
    await worker.write([change(claim, 1, SUCCESS)])

    again = (await worker.write([change(claim, 1, SUCCESS)]))[claim.job_id][0]

    assert again.verdict == "applied"
    assert [kind for _, kind in await history(ready, claim.job_id)] == ["job.started", "log", "job.succeeded"]


async def test_writes_of_a_lost_attempt_change_nothing(ready: StatementPool) -> None:
    job_id = await queue(ready)
    slow, quick = execution(ready, "slow"), execution(ready, "quick")
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
    await queue(ready)
    worker = execution(ready)
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
    await queue(ready)
    worker = execution(ready)
    (claim,) = await worker.claim(1)
    await ready.fetch("UPDATE jobs SET cancel_requested_at = now()")
    ended = change(claim, 1, move)
    if move.target is JobState.QUEUED:
        ended.events.append(encode_event(LogWritten(level="info", message="stands for job.requeued")))
    ended.steps["s"] = StepChange(key="s", name="s", index=None, state=StepState.PENDING, attempt=1)

    _, news = (await worker.write([ended]))[claim.job_id]

    job = await row(ready, claim.job_id)
    assert (job["state"], job["result"], job["error"]) == ("cancelled", None, None)
    assert [kind for _, kind in await history(ready, claim.job_id)] == ["job.started", "log", "job.cancelled"]
    assert news is not None
    assert [event.type for event in news.events] == ["log", "job.cancelled"]
    assert news.state == "cancelled"
    assert (await ready.fetch("SELECT state FROM step_runs"))[0]["state"] == "cancelled"


async def test_the_fifth_loss_fails_the_job_that_is_to_blame_and_the_first_loss_ends_a_cancelled_job(
    ready: StatementPool,
) -> None:
    poison, unwanted, neighbour = await queue(ready), await queue(ready), await queue(ready)
    worker, successor = execution(ready), execution(ready, "successor")
    for loss in range(5):
        claims = await worker.claim(10) + await worker.claim(10, suspects=True)
        fences = {claim.job_id: claim.fence for claim in claims}
        assert poison in fences, loss
        if loss == 0:
            await ready.fetch("UPDATE jobs SET cancel_requested_at = now() WHERE id = $1", unwanted)
        await successor.rescue_from(worker.worker.id, (poison, fences[poison]))

    assert (await row(ready, poison))["state"] == "failed"
    assert (await row(ready, poison))["losses"] == 5
    kept = await row(ready, neighbour)
    assert (kept["state"], kept["losses"], kept["attempt"]) == ("queued", 0, 5)
    kinds = [kind for _, kind in await history(ready, poison)]
    assert kinds.count("attempt.lost") == 5
    assert kinds[-1] == "job.failed"
    assert [kind for _, kind in await history(ready, unwanted)] == [
        "job.started",
        "attempt.lost",
        "job.cancelled",
    ]


async def test_a_lease_that_runs_out_blames_nobody_until_the_tenth_time_in_a_row(
    ready: StatementPool,
) -> None:
    job_id = await queue(ready)
    worker = execution(ready)
    losses = []
    for _ in range(14):
        (claim,) = await worker.claim(1) or await worker.claim(1, suspects=True)
        await lose(ready, claim)
        await sweep(worker)
        losses.append((await row(ready, job_id))["losses"])

    assert losses == [0] * 9 + [1, 2, 3, 4, 5]
    assert (await row(ready, job_id))["state"] == "failed"


async def test_a_loss_after_progress_is_the_first_one_again(ready: StatementPool) -> None:
    job_id = await queue(ready)
    worker, successor = execution(ready), execution(ready, "successor")
    losses = []
    for number in range(7):
        (claim,) = await worker.claim(1) or await worker.claim(1, suspects=True)
        if number in (2, 3, 6):
            succeeded = change(claim, 1)
            succeeded.events.append(
                encode_event(StepSucceeded(step=f"step-{number}", attempt=claim.attempt, took_ms=1))
            )
            await worker.write([succeeded])
        await successor.rescue_from(worker.worker.id, (job_id, claim.fence))
        losses.append((await row(ready, job_id))["losses"])

    assert losses == [1, 2, 1, 1, 2, 3, 1]


async def test_the_jobs_of_a_dead_worker_are_rescued_at_once_and_those_of_others_are_left(
    ready: StatementPool,
) -> None:
    await queue(ready)
    await queue(ready)
    worker, other, successor = execution(ready), execution(ready, "other"), execution(ready, "successor")
    (lost,) = await worker.claim(1)
    (kept,) = await other.claim(1)

    news = await successor.rescue_from(worker.worker.id, None)

    assert [(job_news.job_id, job_news.state) for job_news in news] == [(lost.job_id, "queued")]
    assert (await row(ready, kept.job_id))["state"] == "running"
    assert await successor.rescue_from(worker.worker.id, None) == []


async def test_a_write_of_the_holder_renews_its_lease_and_the_last_one_ends_it(ready: StatementPool) -> None:
    await queue(ready)
    worker = execution(ready)
    (claim,) = await worker.claim(1)
    await lose(ready, claim)

    await worker.write([change(claim, 1)])
    swept = await sweep(execution(ready, "other"))
    await worker.write([change(claim, 2, SUCCESS)])

    assert swept == []
    ended = await row(ready, claim.job_id)
    assert (ended["state"], ended["lease_expires_at"]) == ("succeeded", None)


async def test_the_time_of_a_job_runs_while_its_attempts_run_and_not_while_it_waits(
    ready: StatementPool,
) -> None:
    await queue(ready)
    await ready.fetch("UPDATE jobs SET timeout_seconds = 100")
    worker, successor = execution(ready), execution(ready, "successor")

    async def run_for(seconds: int) -> Claim:
        """Claim the job, and let it have begun that long ago."""
        (claim,) = await worker.claim(1)
        await ready.fetch(
            "UPDATE job_events SET at = at - $1 * interval '1 second' WHERE type = 'job.started'"
            " AND seq = (SELECT max(seq) FROM job_events WHERE type = 'job.started')",
            float(seconds),
        )
        return claim

    left = []
    claim = await run_for(30)
    left.append(claim.seconds_left)
    await worker.write([change(claim, 1, JobMove(target=JobState.QUEUED, delay_seconds=1000))])
    # It waits for a long time, as far as the clock is concerned.
    await ready.fetch(
        "UPDATE jobs SET run_at = now() - interval '1 day',"
        " due_order = now() - interval '1 day' - priority * interval '60 s',"
        " started_at = now() - interval '2 days'"
    )
    claim = await run_for(20)
    left.append(claim.seconds_left)
    await successor.rescue_from(worker.worker.id, None)
    claim = await run_for(45)
    left.append(claim.seconds_left)
    await worker.release([claim.lease])
    kept = await worker.fail_timed_out()
    claim = await run_for(10)
    left.append(claim.seconds_left)
    await worker.release([claim.lease])
    (late,) = await worker.fail_timed_out()

    assert left == [pytest.approx(seconds, abs=5) for seconds in (100, 70, 50, 5)]
    assert (kept, late.state) == ([], "failed")


async def test_an_outage_after_the_end_of_a_lease_is_not_charged_to_the_job(ready: StatementPool) -> None:
    await queue(ready)
    await ready.fetch("UPDATE jobs SET timeout_seconds = 100")
    worker = execution(ready)
    await worker.claim(1)
    await ready.fetch("UPDATE job_events SET at = at - interval '2 hours' WHERE type = 'job.started'")
    await ready.fetch("UPDATE jobs SET lease_expires_at = now() - interval '2 hours' + interval '30 seconds'")

    await sweep(worker)
    (claim,) = await worker.claim(1)

    assert claim.seconds_left == pytest.approx(70, abs=5)


async def test_a_heartbeat_renews_leases_and_returns_the_held_claims(ready: StatementPool) -> None:
    await queue(ready)
    worker, other = execution(ready), execution(ready, "other")
    (claim,) = await worker.claim(1)
    await lose(ready, claim)

    held = await worker.renew([(claim.job_id, claim.fence, 0.5, '{"s": {"done": 1, "total": 2}}')])

    assert held == {(claim.job_id, claim.fence)}
    assert await other.renew([]) == set()
    assert await sweep(other) == []
    assert (await row(ready, claim.job_id))["progress"] == 0.5


async def test_heartbeats_and_batches_do_not_deadlock(ready: StatementPool) -> None:
    for _ in range(60):
        await queue(ready)
    worker = execution(ready)
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


async def test_the_claim_query_uses_the_index_of_due_jobs(ready: StatementPool) -> None:
    await ready.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, finished_at, created_at, updated_at) SELECT gen_random_uuid(), $1, 'noop', 1,"
        " CASE WHEN n % 2 = 0 THEN 'queued' ELSE 'cancelled' END, '{}', '{}', 'default', 0, now(), now(),"
        " CASE WHEN n % 2 = 1 THEN now() END, now(), now() FROM generate_series(1, 20000) n",
        OWNER,
    )
    await ready.fetch("ANALYZE jobs")

    plan = await ready.fetch(
        "EXPLAIN SELECT id FROM jobs WHERE queue = 'default' AND state = 'queued'"
        " AND due_order <= statement_timestamp() AND run_at <= statement_timestamp()"
        " ORDER BY due_order LIMIT 50 FOR NO KEY UPDATE SKIP LOCKED"
    )

    assert any("ix_jobs_due" in line["QUERY PLAN"] for line in plan)


async def test_a_locked_row_does_not_cost_other_jobs_their_leases(
    ready: StatementPool, database_url: str
) -> None:
    for _ in range(3):
        await queue(ready)
    worker = execution(ready)
    held, *others = await worker.claim(3)
    await ready.fetch("UPDATE jobs SET lease_expires_at = '2000-01-01'")
    stranger = await asyncpg.connect(database_url)
    async with stranger.transaction():
        await stranger.fetch("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", held.job_id)
        quick = await StatementPool.open(database_url, lock_timeout=timedelta(milliseconds=50))
        impatient = execution(quick)

        with pytest.raises(DatabaseBusyError):
            await impatient.renew([])
        still = await impatient.renew([], skip_locked=True)

        await quick.close()
    await stranger.close()
    assert still == {(claim.job_id, claim.fence) for claim in (held, *others)}
    lost = {news.job_id for news in await sweep(execution(ready, "other"))}
    assert lost == {held.job_id}
