"""Rings that bring no jobs slow a worker down; the first job lets it go on at once."""

from headrace.adapters.doorbell import RingPace


def rung(pace: RingPace, times: int, jobs: int = 0) -> list[float]:
    """Ring *times* times, find *jobs* each time, and return the pauses after it."""
    pauses = []
    for _ in range(times):
        pace.on_ring()
        pace.on_claim(jobs)
        pauses.append(pace.pause_seconds)
    return pauses


def test_many_rings_in_vain_slow_a_worker_down_until_a_claim_finds_a_job() -> None:
    pace = RingPace()

    assert rung(pace, 12) == [0.0] * 9 + [0.05] * 3
    assert rung(pace, 2, jobs=1) == [0.0, 0.0]
    assert rung(pace, 9) == [0.0] * 9


def test_claims_without_a_ring_do_not_count() -> None:
    pace = RingPace()
    for _ in range(100):
        pace.on_claim(0)

    assert pace.pause_seconds == 0.0
