"""Single runs of a worker's chores, and the counts that they return."""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from headrace.adapters.doorbell import Doorbell
from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseMisconfiguredError,
    DatabaseRefusingError,
)
from headrace.domain.events.news import FrameSource, JobNews
from headrace.domain.jobs.attempts.claims import HeldLease, Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.leases import Leases
from headrace.workers.maintenance.chore_report import ChoreReport
from headrace.workers.maintenance.housekeeper import Housekeeper
from headrace.workers.maintenance.sweeper import Sweeper

LEASE: HeldLease = (UUID(int=1), 7)


class ScriptedQueue(JobQueue):
    """A queue with scripted results, which records the rescued and the released leases."""

    def __init__(self, expired: Iterable[HeldLease] = (), held: Iterable[HeldLease] = ()) -> None:
        self.poison: set[HeldLease] = set()
        self.timed_out: list[JobNews] | Exception = []
        self.worker = Worker(
            id="w", queues=("default",), pipelines=(), concurrency=1, lease=timedelta(seconds=10)
        )
        self.expired = set(expired)
        self.held = set(held)
        self.is_away = False
        self.rescued: list[HeldLease] = []
        self.released: list[HeldLease] = []

    async def fetch_expired(self) -> set[HeldLease]:
        if self.is_away:
            raise DatabaseAwayError("gone")
        return self.expired

    async def fail_timed_out(self) -> list[JobNews]:
        if isinstance(self.timed_out, Exception):
            raise self.timed_out
        return self.timed_out

    async def rescue(self, leases: Sequence[HeldLease]) -> list[JobNews]:
        if self.poison & set(leases):
            raise ValueError("a value that cannot be stored")
        self.rescued += leases
        return [news(job_id) for job_id, _ in leases]

    async def renew(
        self,
        progress: Sequence[tuple[UUID, int, float, str]],  # noqa: ARG002
        *,
        skip_locked: bool = False,  # noqa: ARG002
    ) -> set[HeldLease]:
        return self.held

    async def release(self, leases: Sequence[HeldLease]) -> None:
        self.released += leases

    async def fetch_cancel_requests(self) -> set[HeldLease]:
        raise AssertionError


class KeptOutcomes(ChoreRepository):
    """A repository that records the outcomes. *error*: storing fails with it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.stored: list[tuple[str, str | None]] = []

    async def store_outcome(self, worker: str, name: str, error: str | None) -> None:
        assert worker == "w"
        if self.error is not None:
            raise self.error
        self.stored.append((name, error))


class KeptNews:
    """A publisher that records the news."""

    def __init__(self) -> None:
        self.news: list[JobNews] = []

    def publish(self, news: Sequence[JobNews]) -> None:
        self.news += news

    def publish_progress(self, job_id: UUID, frame: FrameSource) -> None:
        raise AssertionError(job_id, frame)


class KeptRings(Doorbell):
    """A doorbell that records its rings."""

    def __init__(self) -> None:
        super().__init__(None)
        self.rings: list[str] = []

    def ring(self, queues: Iterable[str]) -> None:
        self.rings += queues


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def news(job_id: UUID) -> JobNews:
    return JobNews(
        job_id=job_id,
        owner_id=UUID(int=2),
        pipeline="noop",
        state="queued",
        head=3,
        progress=0.0,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        events=[],
    )


async def test_a_sweep_rescues_a_lease_that_stays_expired_for_a_second() -> None:
    queue, publisher, doorbell, clock = ScriptedQueue([LEASE]), KeptNews(), KeptRings(), Clock()
    sweeper = Sweeper(queue, publisher, doorbell, ChoreReport(KeptOutcomes(), "w"), clock=clock)

    first = await sweeper.sweep()
    clock.now += 0.9
    second = await sweeper.sweep()
    clock.now += 0.1
    third = await sweeper.sweep()

    assert (first, second, third) == (0, 0, 1)
    assert queue.rescued == [LEASE]
    assert [job_news.job_id for job_news in publisher.news] == [LEASE[0]]
    assert doorbell.rings == ["default"]


async def test_a_lease_that_is_renewed_meanwhile_is_left_alone() -> None:
    queue, clock = ScriptedQueue([LEASE]), Clock()
    sweeper = Sweeper(queue, KeptNews(), KeptRings(), ChoreReport(KeptOutcomes(), "w"), clock=clock)

    await sweeper.sweep()
    queue.expired = set()
    clock.now += 1
    await sweeper.sweep()
    queue.expired = {LEASE}
    clock.now += 1

    assert await sweeper.sweep() == 0
    assert queue.rescued == []


async def test_an_outage_restarts_the_second_before_a_rescue() -> None:
    queue, clock = ScriptedQueue([LEASE]), Clock()
    sweeper = Sweeper(queue, KeptNews(), KeptRings(), ChoreReport(KeptOutcomes(), "w"), clock=clock)

    await sweeper.sweep()
    queue.is_away = True
    with pytest.raises(DatabaseAwayError):
        await sweeper.sweep()
    queue.is_away = False
    clock.now += 5

    assert await sweeper.sweep() == 0


async def test_a_lease_without_an_attempt_is_released_at_the_second_heartbeat() -> None:
    queue = ScriptedQueue(held=[LEASE])
    leases = Leases(queue, heartbeat_seconds=2)

    first = await leases.beat(), list(queue.released)
    second = await leases.beat(), list(queue.released)

    assert first == (1, [])
    assert second == (1, [LEASE])


async def test_cancel_requests_are_not_fetched_without_attempts() -> None:
    leases = Leases(ScriptedQueue(), heartbeat_seconds=2)

    assert await leases.stop_cancelled() == 0


async def test_a_job_that_cannot_be_rescued_does_not_hold_up_the_others() -> None:
    leases = {(UUID(int=number), 1) for number in range(1, 251)}
    queue, publisher, outcomes, clock = ScriptedQueue(leases), KeptNews(), KeptOutcomes(), Clock()
    queue.poison = {(UUID(int=7), 1)}
    queue.timed_out = [news(UUID(int=999))]
    sweeper = Sweeper(queue, publisher, KeptRings(), ChoreReport(outcomes, "w"), clock=clock)

    await sweeper.sweep()
    clock.now += 1
    with capture_logs() as logs:
        counts = [await sweeper.sweep(), await sweeper.sweep()]

    assert set(queue.rescued) == leases - queue.poison
    assert {job_news.job_id for job_news in publisher.news} == {job_id for job_id, _ in queue.rescued} | {
        UUID(int=999)
    }
    assert counts == [1, 1]  # the poison's chore has failed, so it counts nothing
    assert [log["chore"] for log in logs if log["event"] == "sweep_failed"] == ["leases"]
    assert outcomes.stored == [
        ("leases", None),
        ("timeouts", None),
        ("leases", "ValueError: a value that cannot be stored"),
    ]


async def test_leases_are_rescued_while_timeouts_fail() -> None:
    queue, clock = ScriptedQueue([LEASE]), Clock()
    queue.timed_out = ValueError("broken")
    sweeper = Sweeper(queue, KeptNews(), KeptRings(), ChoreReport(KeptOutcomes(), "w"), clock=clock)

    await sweeper.sweep()
    clock.now += 1

    assert await sweeper.sweep() == 1
    assert queue.rescued == [LEASE]


class ScriptedChore:
    """A chore that raises each of *errors* in turn, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_a_failing_chore_does_not_stop_the_others() -> None:
    broken, whole = ScriptedChore(ValueError("broken\nin two lines")), ScriptedChore()
    outcomes = KeptOutcomes()
    housekeeper = Housekeeper({"broken": broken, "whole": whole}, ChoreReport(outcomes, "w"), clock=Clock())

    with capture_logs() as logs:
        count = await housekeeper.keep_house()

    assert (count, whole.runs) == (1, 1)
    assert [(log["event"], log["chore"]) for log in logs] == [("housekeeping_failed", "broken")]
    assert outcomes.stored == [("broken", "ValueError: broken"), ("whole", None)]


async def test_a_chore_that_is_refused_for_ever_does_not_stop_the_others() -> None:
    refusal = DatabaseMisconfiguredError("permission denied for schema public", "missing rights")
    refused, whole = ScriptedChore(*[refusal] * 100), ScriptedChore()
    clock, outcomes = Clock(), KeptOutcomes()
    housekeeper = Housekeeper({"refused": refused, "whole": whole}, ChoreReport(outcomes, "w"), clock=clock)

    for _ in range(3 * 360):
        await housekeeper.keep_house()
        clock.now += 10

    assert whole.runs in (3, 4)  # an hour, or up to a tenth less
    assert refused.runs == 36  # every five minutes
    assert ("refused", "DatabaseMisconfiguredError: permission denied for schema public") in outcomes.stored
    assert ("refused", None) not in outcomes.stored


async def test_only_postponed_chores_run_again_soon() -> None:
    partitions, workers = ScriptedChore(DatabaseBusyError("locked")), ScriptedChore()
    clock, outcomes = Clock(), KeptOutcomes()
    housekeeper = Housekeeper(
        {"partitions": partitions, "workers": workers}, ChoreReport(outcomes, "w"), clock=clock
    )

    counts = []
    with capture_logs() as logs:
        for pause in (0, 10, 10, 3600):
            clock.now += pause
            counts.append(await housekeeper.keep_house())

    assert counts == [1, 1, 0, 2]
    assert (partitions.runs, workers.runs) == (3, 2)
    assert [(log["event"], log["chore"]) for log in logs] == [("housekeeping_put_off", "partitions")]
    assert outcomes.stored[:2] == [("workers", None), ("partitions", None)]


async def run(report: ChoreReport, *errors: Exception | None) -> None:
    """Run a chore that ends in these ways, one after the other."""

    async def chore(error: Exception | None) -> int:
        if error is not None:
            raise error
        return 1

    for error in errors:
        with contextlib.suppress(Exception):
            await report.run("files", partial(chore, error))


async def test_only_changes_of_the_outcome_are_stored_and_repeated_after_ten_minutes() -> None:
    outcomes, clock = KeptOutcomes(), Clock()
    report = ChoreReport(outcomes, "w", clock=clock)
    broken = ValueError("broken")

    await run(report, None, None, broken, broken, None, None)
    clock.now += 601
    await run(report, None)

    assert outcomes.stored == [
        ("files", None),
        ("files", "ValueError: broken"),
        ("files", None),
        ("files", None),
    ]


async def test_a_chore_that_is_put_off_fails_the_third_time_in_a_row() -> None:
    outcomes = KeptOutcomes()
    busy = DatabaseBusyError("LockNotAvailableError")

    await run(ChoreReport(outcomes, "w"), busy, busy, None, busy, busy, busy)

    assert outcomes.stored == [
        ("files", None),
        ("files", "DatabaseBusyError: PostgreSQL is busy (LockNotAvailableError)"),
    ]


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (DatabaseRefusingError("permission denied for table chores"), []),
        (ValueError("a bug"), [("chore_not_recorded", "files")]),
    ],
)
async def test_a_report_that_cannot_be_stored_fails_no_chore_and_is_logged_unless_it_is_an_outage(
    error: Exception, lines: list[tuple[str, str]]
) -> None:
    report = ChoreReport(KeptOutcomes(error), "w")

    async def chore() -> int:
        return 7

    with capture_logs() as logs:
        assert await report.run("files", chore) == 7

    assert [(log["event"], log["chore"]) for log in logs] == lines
