"""The progress and the remaining time of a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.events.types import Eta, Progress
from headrace.domain.jobs.eta.estimator import MIN_SAMPLES, EtaEstimator, StepTime
from headrace.domain.jobs.progress import MAX_FRACTION, MAX_SHOWN_ITEMS, JobProgress

WEIGHTS = {"plain": 1.0, "few": 3.0, "many": 2.0}
ITEMS = {"few": 3, "many": MAX_SHOWN_ITEMS + 1}
KEYS = ["plain", *(f"{name}[{index}]" for name, items in ITEMS.items() for index in range(items))]
ACTS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.none() | st.tuples(st.floats(-1, 10), st.floats(0, 10))), max_size=60
)
Acts = list[tuple[str, tuple[float, float] | None]]


def name_of(key: str) -> str:
    return key.partition("[")[0]


def begun(floor: float = 0.0) -> JobProgress:
    progress = JobProgress(WEIGHTS, floor)
    for name, items in ITEMS.items():
        progress.expand(name, items)
    return progress


def act(progress: JobProgress, key: str, report: tuple[float, float] | None) -> None:
    """Apply a progress report or the end of the step run."""
    if report is None:
        progress.finish(name_of(key), key)
    else:
        progress.report(name_of(key), key, Progress(done=report[0], total=report[1]))


@given(ACTS, st.floats(0, 1))
def test_the_fraction_never_falls_and_never_reaches_one(acts: Acts, floor: float) -> None:
    progress = begun(floor)
    seen = [min(floor, MAX_FRACTION), progress.fraction]

    for key, report in acts:
        act(progress, key, report)
        seen.append(progress.fraction)

    assert seen == sorted(seen)
    assert seen[-1] <= MAX_FRACTION


@given(ACTS)
def test_the_fraction_is_the_weighted_mean_of_the_best_reports(acts: Acts) -> None:
    progress = begun()
    best = dict.fromkeys(KEYS, 0.0)

    for key, report in acts:
        act(progress, key, report)
        share = 1.0 if report is None else min(max(report[0] / report[1], 0.0), 1.0) if report[1] > 0 else 0.0
        best[key] = max(best[key], share)

    sums = {name: sum(best[key] for key in KEYS if name_of(key) == name) for name in WEIGHTS}
    shares = {name: sums[name] / ITEMS.get(name, 1) for name in WEIGHTS}
    expected = sum(weight * shares[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    assert progress.fraction == pytest.approx(min(expected, MAX_FRACTION), abs=1e-9)


def test_finished_steps_count_by_their_weight() -> None:
    progress = JobProgress({"a": 1, "b": 3})
    progress.expand("b", 2)

    progress.finish("b", "b[0]")

    assert progress.fraction == 3 / 4 / 2


def test_a_step_without_items_counts_as_done() -> None:
    progress = JobProgress({"a": 1, "b": 1})

    progress.expand("b", 0)

    assert progress.fraction == 0.5


def test_the_fraction_is_at_its_maximum_when_all_steps_are_finished() -> None:
    progress = begun()

    for key in KEYS:
        progress.finish(name_of(key), key)

    assert progress.fraction == MAX_FRACTION
    assert [progress.remaining_items(name) for name in WEIGHTS] == [0, 0, 0]


@given(ACTS)
def test_up_to_a_hundred_items_are_shown_separately_and_more_as_one_entry(acts: Acts) -> None:
    progress = begun()

    for key, report in acts:
        act(progress, key, report)

    shown = {key for key, _ in acts if name_of(key) != "many"}
    assert set(progress.steps) == shown | {"many"}
    assert 0 <= progress.steps["many"].done <= progress.steps["many"].total == ITEMS["many"]


def test_ten_thousand_items_make_one_entry_with_their_count() -> None:
    progress = JobProgress({"many": 1})
    progress.expand("many", 10_000)

    progress.finish("many", "many[0]")
    progress.report("many", "many[1]", Progress(done=1, total=2, message="half"))

    assert progress.steps == {"many": Progress(done=1.5, total=10_000, message="half")}
    assert progress.shown_key("many", "many[1]") == "many"


# The steps of a pipeline: prepare, then two branches, then a step after both.
AFTER = {"prepare": (), "left": ("prepare",), "right": ("prepare",), "last": ("left", "right")}
SECONDS = {"prepare": 1.0, "left": 5.0, "right": 2.0, "last": 1.0}


def estimator(samples: int = MIN_SAMPLES) -> EtaEstimator:
    eta_estimator = EtaEstimator(AFTER)
    eta_estimator.times = {
        name: StepTime(samples=samples, item=(seconds, seconds * 2), whole=(seconds, seconds * 2))
        for name, seconds in SECONDS.items()
    }
    return eta_estimator


def test_the_eta_is_that_of_the_longest_remaining_path() -> None:
    progress = JobProgress(dict.fromkeys(AFTER, 1.0))

    assert estimator().estimate(progress) == Eta(low_seconds=7, high_seconds=14)

    progress.finish("prepare", "prepare")
    progress.report("left", "left", Progress(done=4, total=5))
    assert estimator().estimate(progress) == Eta(low_seconds=3, high_seconds=6)


def test_there_is_no_eta_without_enough_samples_of_each_remaining_step() -> None:
    progress = JobProgress(dict.fromkeys(AFTER, 1.0))
    partly = estimator()
    partly.times = {name: time for name, time in partly.times.items() if name != "last"}

    assert estimator(MIN_SAMPLES - 1).estimate(progress) is None
    assert partly.estimate(progress) is None

    progress.finish("last", "last")
    assert partly.estimate(progress) is not None


def test_the_eta_uses_the_time_of_the_whole_step_until_its_items_are_known() -> None:
    eta_estimator = EtaEstimator({"many": ()})
    eta_estimator.times = {"many": StepTime(samples=9, item=(0.1, 0.2), whole=(30.0, 60.0))}
    progress = JobProgress({"many": 1})

    assert eta_estimator.estimate(progress) == Eta(low_seconds=30, high_seconds=60)

    progress.expand("many", 50)
    assert eta_estimator.estimate(progress) == Eta(low_seconds=5, high_seconds=10)


@given(st.lists(st.tuples(st.sampled_from(list(AFTER)), st.none() | st.floats(0, 1)), max_size=30))
def test_the_eta_never_grows_while_the_step_times_stay_the_same(acts: list[tuple[str, float | None]]) -> None:
    eta_estimator, progress = estimator(), JobProgress(dict.fromkeys(AFTER, 1.0))
    seen = [eta_estimator.estimate(progress)]

    for name, done in acts:
        if done is None:
            progress.finish(name, name)
        else:
            progress.report(name, name, Progress(done=done, total=1))
        seen.append(eta_estimator.estimate(progress))

    lows = [eta.low_seconds for eta in seen if eta is not None]
    highs = [eta.high_seconds for eta in seen if eta is not None]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs, reverse=True)
    assert all(low <= high for low, high in zip(lows, highs, strict=True))
