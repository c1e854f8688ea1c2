"""The rate limiter's buckets of one process."""

import pytest

from headrace.adapters.rate_limiter import LocalLimiter, whole_seconds


def granted(limiter: LocalLimiter, count: int, *, now: float, per_minute: int = 60) -> int:
    return sum(limiter.acquire("key", per_minute, now=now).is_granted for _ in range(count))


def test_the_permits_of_one_minute_may_be_used_at_once() -> None:
    assert granted(LocalLimiter(), 100, now=0.0) == 60


def test_permits_are_refilled_evenly() -> None:
    limiter = LocalLimiter()
    granted(limiter, 60, now=0.0)

    assert [granted(limiter, 5, now=now) for now in (0.5, 1.0, 1.5, 4.0)] == [0, 1, 0, 3]
    assert granted(limiter, 100, now=1000.0) == 60


def test_a_refusal_contains_the_time_until_the_next_permit() -> None:
    limiter = LocalLimiter()
    granted(limiter, 60, now=0.0)

    refused = limiter.acquire("key", 60, now=0.25)

    assert (refused.is_granted, refused.left) == (False, 0)
    assert refused.retry_seconds == pytest.approx(0.75)
    assert refused.full_seconds == pytest.approx(59.75)
    assert limiter.acquire("key", 60, now=0.25 + refused.retry_seconds).is_granted


def test_each_key_has_its_own_bucket() -> None:
    limiter = LocalLimiter()

    assert limiter.acquire("a", 1, now=0.0).is_granted
    assert limiter.acquire("b", 1, now=0.0).is_granted
    assert not limiter.acquire("a", 1, now=0.0).is_granted


def test_ten_thousand_keys_are_kept_and_the_oldest_are_forgotten() -> None:
    limiter = LocalLimiter()
    for number in range(10_000):
        limiter.acquire(f"stranger {number}", 1, now=0.0)

    limiter.acquire("one more", 1, now=0.0)

    assert len(limiter._full_at) == 10_000
    assert not limiter.acquire("stranger 9999", 1, now=0.0).is_granted
    assert limiter.acquire("stranger 0", 1, now=0.0).is_granted


@pytest.mark.parametrize(("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2)])
def test_seconds_in_headers_are_rounded_up(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole
