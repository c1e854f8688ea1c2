"""The arithmetic of KEDA and of Kubernetes' autoscaler, with which tests/faults scales real workers."""

from math import ceil

import msgspec
import pytest

from support.hpa import HorizontalAutoscaler
from support.keda import KedaOperator, Reading
from support.scale_changes import Change, Submission, flaps
from support.scaled_objects import Behavior, ScaledSpec, ScalingPolicy, ScalingRules, scaled_objects

WINDOW_SECONDS = 60
# An autoscaler that may remove any number of pods as soon as its window permits it.
UNLIMITED = Behavior(ScalingRules(WINDOW_SECONDS, (ScalingPolicy("Percent", 100, 15),)))
HALVING = Behavior(ScalingRules(0, (ScalingPolicy("Percent", 50, 60),)))


@pytest.fixture
def spec() -> ScaledSpec:
    (scaled,) = scaled_objects()
    return scaled.spec


def decide_each_minute(hpa: HorizontalAutoscaler, replicas: int, metrics: list[float]) -> list[int]:
    decisions = []
    for number, metric in enumerate(metrics):
        replicas = hpa.decide(number * 60.0, replicas, metric, 1)
        decisions.append(replicas)
    return decisions


@pytest.mark.parametrize(("metric", "target"), [(1, 1), (4.2, 1), (5, 1), (11, 4), (3, 0.75)])
def test_the_number_of_pods_is_the_metric_by_its_target_rounded_up(metric: float, target: float) -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=20)

    assert hpa.decide(0, 2, metric, target) == ceil(metric / target)


@pytest.mark.parametrize(("metric", "replicas"), [(19, 20), (21, 20), (10, 10)])
def test_a_metric_near_its_target_changes_nothing(metric: float, replicas: int) -> None:
    assert HorizontalAutoscaler(UNLIMITED, maximum=50).decide(0, replicas, metric, 1) == replicas


def test_an_autoscaler_leaves_a_deployment_without_pods_and_an_unknown_metric_alone() -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=20)

    assert hpa.decide(0, 0, 9, 1) == 0
    assert hpa.decide(0, 4, None, 1) == 4


def test_the_number_of_pods_stays_between_its_bounds() -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=6, minimum=2)

    assert hpa.decide(0, 4, 100, 1) == 6
    assert hpa.decide(1_000, 6, 0, 1) == 2


def test_pods_end_only_when_the_highest_recommendation_of_the_window_permits_it() -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=20)

    assert hpa.decide(0, 8, 8, 1) == 8
    assert hpa.decide(15, 8, 5, 1) == 8
    assert hpa.decide(30, 8, 2, 1) == 8
    assert hpa.decide(61, 8, 3, 1) == 5
    assert hpa.decide(76, 5, 3, 1) == 3


def test_pods_are_added_at_once_although_fewer_were_recommended_before() -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=20)

    assert hpa.decide(0, 4, 1, 1) == 1
    assert hpa.decide(1, 1, 3, 1) == 3


def test_a_percent_policy_limits_how_many_pods_end_in_its_period() -> None:
    hpa = HorizontalAutoscaler(HALVING, maximum=20)

    assert hpa.decide(0, 9, 1, 1) == 4
    assert hpa.decide(30, 4, 1, 1) == 4  # of the 9 of this minute, no more may end
    assert hpa.decide(61, 4, 1, 1) == 2
    assert hpa.decide(122, 2, 1, 1) == 1


def test_a_pods_policy_limits_how_many_pods_end_in_its_period() -> None:
    by_two = Behavior(ScalingRules(0, (ScalingPolicy("Pods", 2, 60),)))
    hpa = HorizontalAutoscaler(by_two, maximum=20)

    assert [hpa.decide(0, 9, 1, 1), hpa.decide(30, 7, 1, 1), hpa.decide(61, 7, 1, 1)] == [7, 7, 5]


def test_of_several_policies_the_one_that_permits_most_holds() -> None:
    rules = ScalingRules(0, (ScalingPolicy("Percent", 10, 60), ScalingPolicy("Pods", 3, 60)))

    assert HorizontalAutoscaler(Behavior(rules), maximum=20).decide(0, 10, 1, 1) == 7


def test_four_pods_or_twice_as_many_are_added_in_fifteen_seconds() -> None:
    hpa = HorizontalAutoscaler(UNLIMITED, maximum=50)

    assert hpa.decide(0, 1, 40, 1) == 5
    assert hpa.decide(5, 5, 40, 1) == 5
    assert hpa.decide(16, 5, 40, 1) == 10
    assert hpa.decide(32, 10, 40, 1) == 20
    assert hpa.decide(48, 20, 40, 1) == 40


def test_the_shipped_rules_halve_a_fleet_each_minute_after_one_minute(spec: ScaledSpec) -> None:
    hpa = HorizontalAutoscaler(spec.behavior, spec.max_replica_count)

    assert decide_each_minute(hpa, 12, [12, 1, 1, 1, 1, 1]) == [12, 6, 3, 1, 1, 1]


def test_the_first_worker_starts_when_the_metric_exceeds_the_activation(spec: ScaledSpec) -> None:
    keda = KedaOperator(spec)

    assert keda.decide(0, 0, keda.read(0)) == 0
    assert keda.decide(5, 0, keda.read(3)) == 1
    spec.triggers[0].metadata["activationTargetValue"] = "3"
    assert KedaOperator(spec).read(3) == Reading(3, is_active=False)
    assert KedaOperator(spec).read(4) == Reading(4, is_active=True)


def test_the_last_workers_end_after_the_cooldown(spec: ScaledSpec) -> None:
    keda = KedaOperator(spec)
    cooldown = spec.cooldown_period

    assert keda.decide(0, 1, keda.read(1)) == 1
    assert keda.decide(cooldown, 3, keda.read(0)) == 3
    assert keda.decide(cooldown + 1, 3, keda.read(0)) == 0


def test_a_fleet_that_was_never_active_ends_at_once(spec: ScaledSpec) -> None:
    keda = KedaOperator(spec)

    assert keda.decide(0, 3, keda.read(0)) == 0


def test_a_least_number_of_workers_is_kept_up(spec: ScaledSpec) -> None:
    keda = KedaOperator(msgspec.structs.replace(spec, min_replica_count=2))

    assert keda.decide(0, 0, keda.read(0)) == 2
    assert keda.decide(0, 0, keda.read(5)) == 2
    assert keda.decide(10_000, 4, keda.read(0)) == 4


def test_the_fallback_begins_after_more_failures_than_the_threshold(spec: ScaledSpec) -> None:
    keda = KedaOperator(spec)
    keda.decide(0, 1, keda.read(1))

    failed = [keda.read(None) for _ in range(spec.fallback.failure_threshold + 1)]

    assert failed[:-1] == [Reading(None, is_active=False)] * spec.fallback.failure_threshold
    assert failed[-1] == Reading(spec.fallback.replicas, is_active=True)
    assert [keda.decide(10_000, replicas, failed[0]) for replicas in (0, 5)] == [0, 5]
    assert [keda.decide(10_000, replicas, failed[-1]) for replicas in (0, 5)] == [1, 5]


def test_an_answer_ends_the_fallback_and_its_count(spec: ScaledSpec) -> None:
    keda = KedaOperator(spec)
    for _ in range(spec.fallback.failure_threshold + 1):
        keda.read(None)

    assert keda.read(7) == Reading(7, is_active=True)
    assert keda.read(None) == Reading(None, is_active=False)


def test_a_scale_out_soon_after_a_scale_in_is_a_flap() -> None:
    down, up = Change(100, 4, 2), Change(130, 2, 3)

    assert len(list(flaps([Change(90, 2, 4), down, up], [], WINDOW_SECONDS))) == 1
    assert list(flaps([down, msgspec.structs.replace(up, read_at=161)], [], WINDOW_SECONDS)) == []
    assert list(flaps([down, Change(110, 2, 1)], [], WINDOW_SECONDS)) == []
    # The window begins with the last scale-in.
    late = [down, Change(150, 2, 1), Change(170, 1, 2)]
    assert len(list(flaps(late, [], WINDOW_SECONDS))) == 1


@pytest.mark.parametrize(
    ("submission", "explains"),
    [
        (Submission(80, 99), False),
        (Submission(90, 101), True),
        (Submission(110, 120), True),
        (Submission(129, 140), True),
        (Submission(131, 140), False),
    ],
)
def test_a_job_that_was_stored_between_both_explains_a_scale_out(
    submission: Submission, *, explains: bool
) -> None:
    changes = [Change(100, 4, 2), Change(130, 2, 3)]

    assert (list(flaps(changes, [submission], WINDOW_SECONDS)) == []) == explains
