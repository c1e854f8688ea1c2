"""How much the pruner does at once, and how long it pauses."""

import pytest

from headrace.workers.claim_times import ClaimTimes
from headrace.workers.maintenance.prune_pace import PrunePace


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def claims(clock: Clock, *seconds: float) -> ClaimTimes:
    times = ClaimTimes(clock)
    add(times, clock, *seconds)
    return times


def add(times: ClaimTimes, clock: Clock, *seconds: float) -> None:
    for took in seconds:
        with times.measured():
            clock.at += took


def test_the_pruner_works_for_a_fifth_of_the_time() -> None:
    pace = PrunePace()

    assert pace.pause_after(0.03) == pytest.approx(0.12)


def test_statements_grow_while_they_are_short_and_shrink_when_they_are_long() -> None:
    pace = PrunePace()
    sizes = []
    for took in (0.01,) * 8 + (0.03,) + (0.06,) * 8:
        pace.pause_after(took)
        sizes.append(pace.rows)

    assert sizes == [
        *(300, 450, 675, 1000, 1000, 1000, 1000, 1000),
        *(1000,),
        *(500, 250, 125, 62, 31, 20, 20, 20),
    ]


def test_the_share_is_halved_while_claims_are_slow_and_comes_back() -> None:
    clock = Clock()
    times = claims(clock, *[0.06] * 6)
    pace = PrunePace(times, clock=clock)
    shares = []
    for _ in range(3):
        pace.pause_after(0.03)
        shares.append(pace.share)
        clock.at += 6
    add(times, clock, *[0.001] * 200)
    for _ in range(3):
        pace.pause_after(0.03)
        shares.append(pace.share)
        clock.at += 6

    assert shares == pytest.approx([0.1, 0.05, 0.025, 0.05, 0.1, 0.2])


def test_the_share_changes_only_once_in_a_while() -> None:
    clock = Clock()
    pace = PrunePace(claims(clock, *[0.06] * 6), clock=clock)

    for _ in range(5):
        pace.pause_after(0.03)

    assert pace.share == pytest.approx(0.1)


def test_the_share_has_a_lower_bound() -> None:
    clock = Clock()
    times = ClaimTimes(clock)
    pace = PrunePace(times, clock=clock)
    for _ in range(20):
        add(times, clock, *[0.06] * 10)
        clock.at += 5
        pace.pause_after(0.03)

    assert pace.share == pytest.approx(0.2 / 64)


def test_few_and_old_claims_say_nothing() -> None:
    clock = Clock()
    few = claims(clock, *[1.0] * 4)
    old = claims(clock, *[1.0] * 6)
    assert old.p95() == 1.0
    clock.at += 31

    assert few.p95() is None
    assert old.p95() is None


def test_a_claim_that_fails_counts_as_well() -> None:
    clock = Clock()
    times = claims(clock, *[0.001] * 5)

    def fail() -> None:
        with times.measured():
            clock.at += 2.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert times.p95() == pytest.approx(2.0)
