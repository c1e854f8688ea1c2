"""When a worker is live and ready, by what the process knows."""

from typing import Any

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.domain.conditions import Condition, Trouble
from headrace.workers.monitoring.health import StartingHealth, WorkerHealth

AWAY = Trouble(Condition.AWAY, "refused")


class Parts:
    """A worker in which everything is well, and its health."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lag = LoopLag(lambda: self.now)
        self.leases: Any = type("FakeLeases", (), {"seconds_since_beat": 1.0})()
        self.worker: Any = type(
            "FakeWorker",
            (),
            {"stopping": type("Stopping", (), {"is_set": False})(), "has_too_many_abandoned": False},
        )()
        self.outages: Any = type("FakeOutages", (), {})()
        for service in ("postgresql", "redis", "storage"):
            outage = type("FakeOutage", (), {"trouble": None, "service": service})()
            setattr(self.outages, service, outage)
        self.health = WorkerHealth(self.lag, self.leases, self.worker, self.outages, heartbeat_seconds=5.0)


def test_a_worker_that_works_is_live_and_ready() -> None:
    parts = Parts()

    assert (parts.health.why_not_live(), parts.health.why_not_ready()) == ([], [])
    assert parts.health.degraded() == []


def test_a_worker_that_starts_is_live_and_not_ready() -> None:
    parts = Parts()
    starting = StartingHealth(parts.lag, parts.outages)
    in_time = (starting.why_not_live(), starting.why_not_ready())
    parts.outages.postgresql.trouble = AWAY
    without_postgresql = (starting.why_not_live(), starting.why_not_ready())
    parts.now += 6.0

    assert in_time == ([], ["the worker is starting"])
    assert without_postgresql == ([], ["the worker is starting", "postgresql"])
    assert starting.why_not_live() == ["the event loop has not run for 6 s"]
    assert starting.degraded() == []


def test_a_worker_whose_loop_hangs_is_neither() -> None:
    parts = Parts()
    parts.now += 6.0

    reasons = ["the event loop has not run for 6 s"]
    assert (parts.health.why_not_live(), parts.health.why_not_ready()) == (reasons, reasons)


def test_a_worker_whose_heartbeats_are_not_answered_is_neither() -> None:
    parts = Parts()
    parts.leases.seconds_since_beat = 15.0
    in_time = parts.health.why_not_live()
    parts.leases.seconds_since_beat = 16.0

    assert in_time == []
    assert parts.health.why_not_live() == ["no heartbeat was answered for 16 s"]
    assert parts.health.why_not_ready() == ["no heartbeat was answered for 16 s"]


def test_a_worker_is_live_but_not_ready_while_postgresql_is_known_to_be_away() -> None:
    parts = Parts()
    parts.leases.seconds_since_beat = 1_000.0
    parts.outages.postgresql.trouble = AWAY

    assert parts.health.why_not_live() == []
    assert parts.health.why_not_ready() == ["postgresql"]


def test_a_worker_that_stops_or_holds_abandoned_steps_is_live_but_not_ready() -> None:
    parts = Parts()
    parts.worker.stopping.is_set = True
    parts.worker.has_too_many_abandoned = True

    assert parts.health.why_not_live() == []
    assert parts.health.why_not_ready() == ["the worker stops", "too many abandoned steps still run"]


def test_a_worker_without_redis_is_ready_and_says_so() -> None:
    parts = Parts()
    parts.outages.redis.trouble = AWAY

    assert parts.health.why_not_ready() == []
    assert parts.health.degraded() == ["redis"]
