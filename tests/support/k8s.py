"""The manifests of deploy/k8s, parsed."""

import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import msgspec
import pytest

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "k8s"
KUSTOMIZATION: Final = msgspec.yaml.decode((FOLDER / "kustomization.yaml").read_bytes())
# Secrets that the operator makes: docs/deployment.md#kubernetes.
SECRETS: Final = {
    "headrace": {"database_password", "redis_password", "secret_key"},
    "headrace-scaling": {"token"},
}
NEWEST: Final = kubernetes_validate.latest_version()
OWN_KINDS: Final = ("ScaledObject", "TriggerAuthentication")

Manifest = dict[str, Any]


def manifests_in(text: str) -> list[Manifest]:
    return [msgspec.yaml.decode(part) for part in re.split(r"^---$", text, flags=re.MULTILINE)]


MANIFESTS: Final = [
    manifest for name in KUSTOMIZATION["resources"] for manifest in manifests_in((FOLDER / name).read_text())
]


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(*kinds: str) -> list[Any]:
    """Return the manifests of these kinds as parameters of a test."""
    return [pytest.param(found, id=name_of(found)) for found in MANIFESTS if found["kind"] in kinds]


def template_of(workload: Manifest) -> Manifest:
    template: Manifest = workload["spec"]["template"]
    return template


def container_of(workload: Manifest) -> Manifest:
    (container,) = template_of(workload)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


WORKLOADS: Final = of_kind("Deployment", "Job")
DEPLOYMENTS: Final = of_kind("Deployment")
POD_LABELS: Final = [template_of(param.values[0])["metadata"]["labels"] for param in WORKLOADS]
