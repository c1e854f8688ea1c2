"""The arithmetic of Kubernetes' HorizontalPodAutoscaler for one external metric. Pure: callers pass the time.

It follows "Algorithm details" and "Configurable scaling behavior" of Kubernetes' page about horizontal pod
autoscaling, for a metric of the type AverageValue and rules without `selectPolicy`, which means the policy
that permits the greatest change.
"""

import math
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from support.scaled_objects import Behavior, ScalingPolicy

SYNC_SECONDS: Final = 15
"""How often Kubernetes evaluates an autoscaler by default."""
_TOLERANCE: Final = 0.1


class Recommendation(Struct, frozen=True):
    at: float
    replicas: int


class HorizontalAutoscaler:
    """Decides the number of pods from a metric, its own recommendations and its own changes so far."""

    def __init__(self, behavior: Behavior, maximum: int, minimum: int = 1) -> None:
        self._behavior = behavior
        self._maximum = maximum
        self._minimum = minimum
        self._recommendations: list[Recommendation] = []
        self._added: list[Recommendation] = []
        self._removed: list[Recommendation] = []

    def decide(self, now: float, replicas: int, metric: float | None, target: float) -> int:
        """Return how many pods there should be; *metric* is None while it cannot be read.

        A Deployment without pods is left alone: an autoscaler neither starts its first pod nor ends its last.
        """
        if replicas == 0 or metric is None:
            return replicas
        desired = self._within_rates(now, replicas, self._stabilize(now, replicas, metric, target))
        if desired > replicas:
            self._added.append(Recommendation(now, desired - replicas))
        elif desired < replicas:
            self._removed.append(Recommendation(now, replicas - desired))
        return desired

    def _stabilize(self, now: float, replicas: int, metric: float, target: float) -> int:
        """Return the safest recommendation of the stabilization window: the highest one before pods end."""
        raw = replicas
        if abs(1 - metric / (target * replicas)) > _TOLERANCE:
            raw = math.ceil(metric / target)
        is_up = raw >= replicas
        rules = self._behavior.scale_up if is_up else self._behavior.scale_down
        recent = self._since(now - rules.stabilization_window_seconds, self._recommendations)
        self._recommendations.append(Recommendation(now, raw))
        return (min if is_up else max)([raw, *recent])

    def _within_rates(self, now: float, replicas: int, desired: int) -> int:
        """Limit *desired* to what the policies permit in their periods, and to the bounds."""
        if desired > replicas:
            limits = [self._upper(now, replicas, policy) for policy in self._behavior.scale_up.policies]
            return min(desired, self._maximum, max(replicas, *limits))
        if desired < replicas:
            limits = [self._lower(now, replicas, policy) for policy in self._behavior.scale_down.policies]
            return max(desired, self._minimum, min(replicas, *limits))
        return replicas

    def _upper(self, now: float, replicas: int, policy: ScalingPolicy) -> int:
        start = replicas - sum(self._since(now - policy.period_seconds, self._added))
        if policy.type == "Pods":
            return start + policy.value
        return math.ceil(start * (1 + policy.value / 100))

    def _lower(self, now: float, replicas: int, policy: ScalingPolicy) -> int:
        start = replicas + sum(self._since(now - policy.period_seconds, self._removed))
        if policy.type == "Pods":
            return start - policy.value
        return int(start * (1 - policy.value / 100))

    def _since(self, begin: float, items: Iterable[Recommendation]) -> list[int]:
        return [item.replicas for item in items if item.at > begin]
