"""The status of an attempt: its newest event number, and whether and why it stops."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.jobs.attempts.changes import WriteResult
from headrace.workers.attempt.outcome import AttemptStatus, StopReason

OTHERS = [reason for reason in StopReason if reason is not StopReason.LEASE_LOST]


def test_an_attempt_starts_without_a_stop_reason() -> None:
    status = AttemptStatus(4)

    assert (status.head, status.reason, status.is_set) == (4, None, False)


@pytest.mark.parametrize("reason", StopReason)
def test_a_stop_reason_ends_the_attempt(reason: StopReason) -> None:
    status = AttemptStatus(0)

    status.stop(reason)

    assert (status.reason, status.is_set) == (reason, True)


@pytest.mark.parametrize(("first", "second"), list(permutations(OTHERS, 2)))
def test_the_first_stop_reason_is_kept(first: StopReason, second: StopReason) -> None:
    status = AttemptStatus(0)

    status.stop(first)
    status.stop(second)

    assert status.reason is first


@pytest.mark.parametrize(("reason", "comes_first"), list(product(OTHERS, [True, False])))
def test_a_lost_lease_overrides_every_other_reason(reason: StopReason, comes_first: bool) -> None:
    status = AttemptStatus(0)
    reasons = [StopReason.LEASE_LOST, reason] if comes_first else [reason, StopReason.LEASE_LOST]

    for value in reasons:
        status.stop(value)

    assert status.reason is StopReason.LEASE_LOST


def test_listeners_are_called_when_the_attempt_must_stop() -> None:
    status = AttemptStatus(0)
    reasons: list[StopReason | None] = []
    status.add_callback(lambda: reasons.append(status.reason))

    status.stop(StopReason.CANCELLED)

    assert reasons == [StopReason.CANCELLED]


@given(st.integers(0, 99), st.lists(st.integers(0, 99)))
def test_the_head_is_that_of_the_newest_event_in_any_order_of_results(head: int, heads: list[int]) -> None:
    status = AttemptStatus(head)

    for value in heads:
        status.on_written(WriteResult(verdict="applied", head=value))

    assert status.head == max([head, *heads])


def test_an_applied_write_does_not_end_the_attempt() -> None:
    status = AttemptStatus(0)

    status.on_written(WriteResult(verdict="applied", head=1, state="running"))

    assert (status.reason, status.is_set) == (None, False)


def test_a_lost_write_means_that_the_lease_is_lost() -> None:
    status = AttemptStatus(3)
    status.stop(StopReason.CANCELLED)

    status.on_written(WriteResult(verdict="lost"))

    assert (status.reason, status.head) == (StopReason.LEASE_LOST, 3)
