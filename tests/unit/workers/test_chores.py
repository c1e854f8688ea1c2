"""Single runs of a worker's chores, and the counts that they return."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from headrace.adapters.doorbell import Doorbell
from headrace.domain.database import DatabaseAwayError
from headrace.domain.events.news import JobNews
from headrace.domain.events.types import ProgressFrame
from headrace.domain.jobs.attempts.claims import HeldLease, Worker
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.workers.leases import Leases
from headrace.workers.maintenance.housekeeper import Housekeeper
from headrace.workers.maintenance.sweeper import Sweeper

LEASE: HeldLease = (UUID(int=1), 7)


class ScriptedQueue(JobQueue):
    """A queue with scripted results, which records the rescued and the released leases."""

    def __init__(self, expired: Iterable[HeldLease] = (), held: Iterable[HeldLease] = ()) -> None:
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
        return []

    async def rescue(self, leases: Sequence[HeldLease]) -> list[JobNews]:
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


class KeptNews:
    """A publisher that records the news."""

    def __init__(self) -> None:
        self.news: list[JobNews] = []

    def publish(self, news: Sequence[JobNews]) -> None:
        self.news += news

    def publish_progress(self, job_id: UUID, frame: ProgressFrame) -> None:
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
    sweeper = Sweeper(queue, publisher, doorbell, clock=clock)

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
    sweeper = Sweeper(queue, KeptNews(), KeptRings(), clock=clock)

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
    sweeper = Sweeper(queue, KeptNews(), KeptRings(), clock=clock)

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


async def test_a_failing_chore_does_not_stop_the_others() -> None:
    runs: list[str] = []

    async def broken() -> None:
        raise ValueError("broken")

    async def whole() -> None:
        runs.append("whole")

    housekeeper = Housekeeper({"broken": broken, "whole": whole})

    with capture_logs() as logs:
        count = await housekeeper.keep_house()

    assert count == 1
    assert runs == ["whole"]
    assert [(log["event"], log["chore"]) for log in logs] == [("housekeeping_failed", "broken")]


async def test_only_postponed_chores_run_again_soon() -> None:
    runs: list[str] = []
    is_away = True

    async def partitions() -> None:
        if is_away:
            raise DatabaseAwayError("gone")
        runs.append("partitions")

    async def workers() -> None:
        runs.append("workers")

    housekeeper = Housekeeper({"partitions": partitions, "workers": workers})

    with capture_logs() as logs, pytest.raises(DatabaseAwayError):
        await housekeeper.keep_house()
    is_away = False
    soon = await housekeeper.keep_house()
    an_hour_later = await housekeeper.keep_house()

    assert runs == ["workers", "partitions", "partitions", "workers"]
    assert (soon, an_hour_later) == (1, 2)
    assert [(log["event"], log["chore"]) for log in logs] == [("housekeeping_put_off", "partitions")]
