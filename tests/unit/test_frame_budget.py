"""How many frames a client may send."""

import pytest

from headrace.api.server.frame_budget import BURST, FRAMES_PER_SECOND, FrameBudget


def test_a_burst_is_allowed_and_one_frame_more_is_not() -> None:
    budget = FrameBudget(0.0)

    assert budget.take(BURST, 0.0)
    assert not budget.take(1, 0.0)


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, FRAMES_PER_SECOND), (1_000.0, BURST)])
def test_the_budget_refills_evenly_up_to_a_burst(seconds: float, frames: int) -> None:
    budget = FrameBudget(0.0)
    budget.take(BURST, 0.0)

    assert budget.take(frames, seconds)
    assert not budget.take(1, seconds)


def test_frames_that_the_server_requested_do_not_count() -> None:
    budget = FrameBudget(0.0)
    for _ in range(10 * BURST):
        assert budget.take(1, 0.0)
        budget.give_back()
