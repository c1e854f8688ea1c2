"""The cost of a fault is found in the records of the jobs that did not cause it."""

from faults.costs import Cost, cost_of
from faults.records import EventRecord, JobRecord


def job(**times: float) -> JobRecord:
    """Return the record of a job; the names of *times* are its events, a trailing digit aside."""
    names = {
        "queued": "job.queued",
        "started": "job.started",
        "lost": "attempt.lost",
        "requeued": "job.requeued",
    }
    kinds = [names.get(name.rstrip("0123456789"), "job.succeeded") for name in times]
    events = [
        EventRecord(seq, kind, {}, at)
        for seq, (kind, at) in enumerate(zip(kinds, times.values(), strict=True), 1)
    ]
    return JobRecord(
        id="j",
        state="succeeded",
        attempt=1,
        fence=1,
        losses=0,
        event_seq=len(events),
        progress=1.0,
        events=events,
    )


def lost_once(accepted: float, restarted: float) -> JobRecord:
    return job(queued=accepted, started=10, lost=20, requeued=20, started2=restarted, ended=restarted + 5)


def test_undisturbed_jobs_that_run_together_cost_nothing() -> None:
    jobs = [job(queued=at, started=10 + at, ended=20) for at in (0, 1, 2)]

    assert cost_of(jobs) == Cost(lost=0, paused=0.0, overtaken=0, side_by_side=3)


def test_jobs_that_go_on_together_after_a_loss_cost_their_pause() -> None:
    jobs = [lost_once(0, 21), lost_once(1, 22.5)]

    assert cost_of(jobs) == Cost(lost=1, paused=2.5, overtaken=0, side_by_side=2)


def test_jobs_that_run_one_at_a_time_are_found() -> None:
    jobs = [lost_once(0, 21), lost_once(1, 26), lost_once(2, 31)]

    assert cost_of(jobs) == Cost(lost=1, paused=11, overtaken=0, side_by_side=1)


def test_a_later_job_that_begins_before_a_lost_one_has_overtaken_it() -> None:
    jobs = [lost_once(0, 30), job(queued=5, started=25, ended=26), job(queued=5, started=31, ended=40)]

    assert cost_of(jobs).overtaken == 1
