"""The table of transitions between job states."""

from itertools import product

import pytest

from headrace.domain.jobs.states import IllegalTransitionError, JobState, move

LEGAL = {
    (JobState.QUEUED, JobState.RUNNING),
    (JobState.QUEUED, JobState.CANCELLED),
    (JobState.QUEUED, JobState.FAILED),
    (JobState.RUNNING, JobState.SUCCEEDED),
    (JobState.RUNNING, JobState.QUEUED),
    (JobState.RUNNING, JobState.FAILED),
    (JobState.RUNNING, JobState.CANCELLED),
    (JobState.FAILED, JobState.QUEUED),
}


@pytest.mark.parametrize(("source", "target"), list(product(JobState, JobState)))
def test_only_the_listed_transitions_are_legal(source: JobState, target: JobState) -> None:
    if (source, target) in LEGAL:
        assert move(source, target) is target
    else:
        with pytest.raises(IllegalTransitionError):
            move(source, target)


def test_failed_is_the_only_final_state_that_can_be_left() -> None:
    leaving = {source for source, _ in LEGAL if source.is_final}

    assert leaving == {JobState.FAILED}
