"""deploy/k8s fits the schemas of Kubernetes, and its parts and settings fit each other."""

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from headrace.api.health import HealthController
from headrace.settings import explain_unknown_variables, read_settings
from headrace.workers.monitoring import pages as monitoring
from support.k8s import (
    DEPLOYMENTS,
    FOLDER,
    KUSTOMIZATION,
    MANIFESTS,
    NEWEST,
    OWN_KINDS,
    POD_LABELS,
    SECRETS,
    WORKLOADS,
    Manifest,
    container_of,
    manifests_in,
    name_of,
    of_kind,
    template_of,
)


def handlers_of_health() -> list[HTTPRouteHandler]:
    return [handler for handler in vars(HealthController).values() if isinstance(handler, HTTPRouteHandler)]


def test_every_file_is_a_resource_of_the_kustomization() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}

    assert set(KUSTOMIZATION["resources"]) == files
    names = [name_of(manifest) for manifest in MANIFESTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("version", ["1.30", NEWEST])
@pytest.mark.parametrize(
    "manifest", [found for found in MANIFESTS if found["kind"] not in OWN_KINDS], ids=name_of
)
def test_each_manifest_fits_the_schema_of_kubernetes(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_kustomization_can_be_built() -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    built = manifests_in(done.stdout)
    assert len(built) == len(MANIFESTS) + 1
    for manifest in built:
        if manifest["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_overlay_of_the_page_replaces_the_image_of_every_pod() -> None:
    """An overlay sees the names of images as its base has left them."""
    page = (FOLDER.parents[1] / "docs" / "deployment.md").read_text()
    (overlay,) = (
        msgspec.yaml.decode(block)
        for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        if "kind: Kustomization" in block
    )

    assert "images" not in KUSTOMIZATION
    assert {container_of(workload.values[0])["image"] for workload in WORKLOADS} == {
        image["name"] for image in overlay["images"]
    }
    assert set(overlay["resources"]) == {"headrace/deploy/k8s"}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_what_a_pod_refers_to_exists(workload: Manifest) -> None:
    spec, container = template_of(workload)["spec"], container_of(workload)
    names = {name_of(manifest) for manifest in MANIFESTS}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    assert f"ServiceAccount/{spec['serviceAccountName']}" in names
    assert {source["configMapRef"]["name"] for source in container["envFrom"]} == {
        generated["name"] for generated in KUSTOMIZATION["configMapGenerator"]
    }
    assert container["image"] == "headrace"
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    for volume in volumes.values():
        if "secret" in volume:
            assert volume["secret"]["secretName"] in SECRETS
        if "persistentVolumeClaim" in volume:
            assert f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}" in names


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_has_no_more_rights_than_it_needs(workload: Manifest) -> None:
    spec, container = template_of(workload)["spec"], container_of(workload)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/tmp", "/secrets"} <= mounts  # noqa: S108


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_has_the_settings_that_it_needs(workload: Manifest, tmp_path: Path) -> None:
    for name in SECRETS["headrace"]:
        (tmp_path / name).write_text("x" * 32)
    literals = KUSTOMIZATION["configMapGenerator"][0]["literals"]
    environment = dict(literal.partition("=")[::2] for literal in literals)
    environment |= {variable["name"]: variable["value"] for variable in container_of(workload)["env"]}
    files = {value for value in environment.values() if value.startswith("/secrets/")}
    assert {file.removeprefix("/secrets/") for file in files} == SECRETS["headrace"]

    environment = {name: value.replace("/secrets", str(tmp_path)) for name, value in environment.items()}
    settings = read_settings(environment)

    assert settings.env == "production"
    assert explain_unknown_variables(settings, environment) is None


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_probes_ask_for_paths_that_exist_on_a_port_that_is_open(deployment: Manifest) -> None:
    container = container_of(deployment)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    is_worker = container["args"][0] == "worker"
    paths = re.findall(r'"(/health/\w+)": ', Path(monitoring.__file__).read_text())
    if not is_worker:
        paths = [f"{HealthController.path}{handler.paths.copy().pop()}" for handler in handlers_of_health()]

    for kind, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
        probe = container[f"{kind}Probe"]["httpGet"]
        assert probe["path"] == f"/health/{path}"
        assert probe["path"] in paths
        port = ports[probe["port"]]
        assert str(port) == ("8001" if is_worker else container["args"][-1])
    if is_worker:
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment["HEADRACE_WORKER_HOST"] == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_pod_is_killed_only_after_its_own_time_to_stop(deployment: Manifest) -> None:
    container = container_of(deployment)
    allowed = template_of(deployment)["spec"]["terminationGracePeriodSeconds"]

    if container["args"][0] == "worker":
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert float(environment["HEADRACE_STOP_SECONDS"]) < allowed
    else:
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pause + 15 < allowed


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_deployment_selects_its_own_pods_only(deployment: Manifest) -> None:
    selector = deployment["spec"]["selector"]["matchLabels"]
    labels = template_of(deployment)["metadata"]["labels"]

    assert [found for found in POD_LABELS if selector.items() <= found.items()] == [labels]


@pytest.mark.parametrize("manifest", of_kind("Service", "PodDisruptionBudget", "NetworkPolicy"))
def test_selectors_match_pods(manifest: Manifest) -> None:
    spec = manifest["spec"]
    selector = spec.get("podSelector", spec.get("selector"))
    labels = selector.get("matchLabels", selector)

    assert [found for found in POD_LABELS if labels.items() <= found.items()] != []


def test_the_service_and_the_policies_name_ports_of_the_pods_that_they_select() -> None:
    open_ports = {
        (labels["app.kubernetes.io/component"], port["name"])
        for labels, workload in zip(POD_LABELS, (param.values[0] for param in WORKLOADS), strict=True)
        for port in container_of(workload).get("ports", ())
    }
    named = set()
    for param in of_kind("Service"):
        spec = param.values[0]["spec"]
        named |= {
            (spec["selector"]["app.kubernetes.io/component"], port["targetPort"]) for port in spec["ports"]
        }
    for param in of_kind("NetworkPolicy"):
        spec = param.values[0]["spec"]
        labels = spec["podSelector"]["matchLabels"]
        for rule in spec.get("ingress", ()):
            named |= {(labels["app.kubernetes.io/component"], port["port"]) for port in rule["ports"]}

    assert named == open_ports


def test_no_manifest_holds_a_secret() -> None:
    assert of_kind("Secret") == []
    assert "secretGenerator" not in KUSTOMIZATION
