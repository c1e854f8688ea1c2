"""What KEDA's operator decides about a Deployment. Pure: callers pass the time and what the trigger answered.

It follows "Scaling Deployments" and the ScaledObject specification of KEDA's documentation, for a single
trigger: the operator alone starts the first worker and ends the last one, and gives the metric to a
HorizontalPodAutoscaler, which decides about the others. Every failure to read the metric counts, whether the
operator or the autoscaler asked; the fallback begins with the first one beyond the threshold.
"""

from msgspec import Struct

from support.scaled_objects import ScaledSpec


class Reading(Struct, frozen=True):
    """A metric as KEDA passes it on: None if it could not be read and there is no fallback yet."""

    metric: float | None
    is_active: bool


class KedaOperator:
    """Activates and deactivates a Deployment, and replaces a metric that cannot be read by the fallback."""

    def __init__(self, spec: ScaledSpec) -> None:
        (self._trigger,) = spec.triggers
        self._spec = spec
        self._failures = 0
        self._last_active: float | None = None

    @property
    def target(self) -> float:
        return float(self._trigger.metadata["targetValue"])

    def read(self, value: float | None) -> Reading:
        """Return what a read of the trigger means; *value* is None if it failed."""
        if value is not None:
            self._failures = 0
            return Reading(value, value > float(self._trigger.metadata.get("activationTargetValue", 0)))
        self._failures += 1
        if self._failures > self._spec.fallback.failure_threshold:
            return Reading(self.target * self._spec.fallback.replicas, is_active=True)
        return Reading(None, is_active=False)

    def decide(self, now: float, replicas: int, reading: Reading) -> int:
        """Return how many workers there should be after a poll."""
        minimum = self._spec.min_replica_count
        if reading.is_active:
            self._last_active = now
            return replicas or max(1, minimum)
        if reading.metric is None:
            return replicas
        if minimum > 0:
            return max(replicas, minimum)
        # A Deployment that was never active has no time to cool down from.
        is_cold = self._last_active is None or now - self._last_active > self._spec.cooldown_period
        return 0 if is_cold else replicas
