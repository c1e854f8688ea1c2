"""The ScaledObjects of deploy/k8s, from which KEDA makes an autoscaler for the workers of each queue."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from support.k8s import of_kind


class Metadata(Struct, forbid_unknown_fields=True):
    name: str


class Reference(Struct, forbid_unknown_fields=True):
    name: str


class Fallback(Struct, forbid_unknown_fields=True, rename="camel"):
    failure_threshold: int
    replicas: int


class ScalingPolicy(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """By how many pods, or by how many percent of them, a Deployment may grow or shrink in a period."""

    type: Literal["Percent", "Pods"]
    value: int
    period_seconds: int


class ScalingRules(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    stabilization_window_seconds: int
    policies: tuple[ScalingPolicy, ...]


DEFAULT_SCALE_UP: Final = ScalingRules(0, (ScalingPolicy("Percent", 100, 15), ScalingPolicy("Pods", 4, 15)))
"""What Kubernetes documents for a HorizontalPodAutoscaler that says nothing about scaling up."""


class Behavior(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    scale_down: ScalingRules
    scale_up: ScalingRules = DEFAULT_SCALE_UP


class HpaConfig(Struct, forbid_unknown_fields=True):
    behavior: Behavior


class Advanced(Struct, forbid_unknown_fields=True, rename="camel"):
    horizontal_pod_autoscaler_config: HpaConfig


class Trigger(Struct, forbid_unknown_fields=True, rename="camel"):
    type: str
    metric_type: str
    metadata: dict[str, str]
    authentication_ref: Reference


class ScaledSpec(Struct, forbid_unknown_fields=True, rename="camel"):
    scale_target_ref: Reference
    polling_interval: int
    cooldown_period: int
    min_replica_count: int
    max_replica_count: int
    fallback: Fallback
    advanced: Advanced
    triggers: list[Trigger]

    @property
    def behavior(self) -> Behavior:
        return self.advanced.horizontal_pod_autoscaler_config.behavior


class ScaledObject(Struct, forbid_unknown_fields=True, rename="camel"):
    """The fields of KEDA's resource that these manifests use."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: ScaledSpec


def scaled_objects() -> list[ScaledObject]:
    return [msgspec.convert(found.values[0], ScaledObject) for found in of_kind("ScaledObject")]
