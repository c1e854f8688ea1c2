"""Where an attempt stands: its newest event, and whether and why it is to end."""

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.jobs.attempts.changes import WriteResult
from headrace.workers.attempt.outcome import AttemptStatus, StopReason

OTHERS = [reason for reason in StopReason if reason is not StopReason.LEASE_LOST]


def test_an_attempt_begins_without_a_reason_to_end() -> None:
    standing = AttemptStatus(4)

    assert (standing.head, standing.reason, standing.is_set) == (4, None, False)


@pytest.mark.parametrize("reason", StopReason)
def test_a_reason_ends_the_attempt(reason: StopReason) -> None:
    standing = AttemptStatus(0)

    standing.stop(reason)

    assert (standing.reason, standing.is_set) == (reason, True)


@pytest.mark.parametrize(("first", "second"), list(permutations(OTHERS, 2)))
def test_the_first_reason_counts(first: StopReason, second: StopReason) -> None:
    standing = AttemptStatus(0)

    standing.stop(first)
    standing.stop(second)

    assert standing.reason is first


@pytest.mark.parametrize(("reason", "comes_first"), list(product(OTHERS, [True, False])))
def test_a_lost_lease_beats_all(reason: StopReason, comes_first: bool) -> None:
    standing = AttemptStatus(0)
    reasons = [StopReason.LEASE_LOST, reason] if comes_first else [reason, StopReason.LEASE_LOST]

    for one in reasons:
        standing.stop(one)

    assert standing.reason is StopReason.LEASE_LOST


def test_whoever_listens_hears_that_the_attempt_is_to_end() -> None:
    standing = AttemptStatus(0)
    heard: list[StopReason | None] = []
    standing.add_callback(lambda: heard.append(standing.reason))

    standing.stop(StopReason.CANCELLED)

    assert heard == [StopReason.CANCELLED]


@settings(deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(0, 99)))
def test_the_head_is_that_of_the_newest_event_in_whichever_order_answers_come(
    head: int, heads: list[int]
) -> None:
    standing = AttemptStatus(head)

    for one in heads:
        standing.on_written(WriteResult(verdict="applied", head=one))

    assert standing.head == max([head, *heads])


def test_a_write_that_was_applied_ends_nothing() -> None:
    standing = AttemptStatus(0)

    standing.on_written(WriteResult(verdict="applied", head=1, state="running"))

    assert (standing.reason, standing.is_set) == (None, False)


def test_a_write_that_was_lost_means_that_the_lease_is_lost() -> None:
    standing = AttemptStatus(3)
    standing.stop(StopReason.CANCELLED)

    standing.on_written(WriteResult(verdict="lost"))

    assert (standing.reason, standing.head) == (StopReason.LEASE_LOST, 3)
