"""The delay before a failed step is retried."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.jobs.attempts import backoff


@given(st.integers(1, 1000), st.floats(0, 1))
def test_a_delay_never_exceeds_its_ceiling_or_five_minutes(failures: int, unit: float) -> None:
    wait = backoff.delay(failures, unit)

    assert timedelta(0) <= wait <= backoff.ceiling(failures) <= timedelta(minutes=5)


def test_the_ceiling_doubles_with_each_failure() -> None:
    assert [backoff.ceiling(n).total_seconds() for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
