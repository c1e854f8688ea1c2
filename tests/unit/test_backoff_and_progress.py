"""Pure rules of waiting and of progress."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.events.types import Progress
from domain.jobs import backoff
from domain.jobs.progress import ALMOST, JobProgress


@given(st.integers(1, 1000), st.floats(0, 1))
def test_a_wait_is_never_above_its_ceiling_or_five_minutes(failures: int, unit: float) -> None:
    wait = backoff.delay(failures, unit)

    assert timedelta(0) <= wait <= backoff.ceiling(failures) <= timedelta(minutes=5)


def test_the_ceiling_doubles() -> None:
    assert [backoff.ceiling(n).total_seconds() for n in (1, 2, 3, 4)] == [1, 2, 4, 8]


REPORTS = st.lists(
    st.tuples(st.sampled_from(["a", "b[0]", "b[1]"]), st.floats(-1, 10), st.floats(0, 10)), max_size=30
)


@given(REPORTS)
def test_the_fraction_never_falls_and_is_never_whole(reports: list[tuple[str, float, float]]) -> None:
    progress = JobProgress({"a": 1, "b": 3})
    progress.expand("b", 2)
    seen = [progress.fraction]

    for key, done, total in reports:
        progress.report(key.split("[")[0], key, Progress(done=done, total=total))
        seen.append(progress.fraction)

    assert seen == sorted(seen)
    assert seen[-1] <= ALMOST


def test_finished_steps_count_by_their_weight() -> None:
    progress = JobProgress({"a": 1, "b": 3})
    progress.expand("b", 2)

    progress.finish("b", "b[0]")

    assert progress.fraction == 3 / 4 / 2


def test_a_step_without_items_is_done() -> None:
    progress = JobProgress({"a": 1, "b": 1})

    progress.expand("b", 0)

    assert progress.fraction == 0.5
