"""KEDA scales the workers of deploy/k8s, each queue by itself."""

import re

import kubernetes_validate
import pytest
from litestar.handlers import HTTPRouteHandler

from headrace.api.numbers import NumbersController
from headrace.domain.queues.models import ScalingNumbers
from support.k8s import (
    DEPLOYMENTS,
    FOLDER,
    MANIFESTS,
    NEWEST,
    OWN_KINDS,
    SECRETS,
    container_of,
    manifests_in,
    name_of,
    of_kind,
    template_of,
)
from support.scaled_objects import ScaledObject, scaled_objects


def test_autoscalers_scale_deployments_that_name_no_number() -> None:
    deployments = {param.values[0]["metadata"]["name"]: param.values[0] for param in DEPLOYMENTS}
    targets = [
        param.values[0]["spec"]["scaleTargetRef"]["name"] for param in of_kind("HorizontalPodAutoscaler")
    ]
    targets += [scaled.spec.scale_target_ref.name for scaled in scaled_objects()]

    assert sorted(targets) == sorted(deployments)
    assert [name for name, deployment in deployments.items() if "replicas" in deployment["spec"]] == []


@pytest.mark.parametrize("scaled", scaled_objects(), ids=lambda scaled: scaled.metadata.name)
def test_keda_asks_for_the_queue_of_its_workers_with_their_number_of_slots(scaled: ScaledObject) -> None:
    (deployment,) = (
        param.values[0]
        for param in DEPLOYMENTS
        if param.values[0]["metadata"]["name"] == scaled.spec.scale_target_ref.name
    )
    arguments = container_of(deployment)["args"]
    queue, slots = (arguments[arguments.index(option) + 1] for option in ("--queue", "--concurrency"))
    services = {param.values[0]["metadata"]["name"] for param in of_kind("Service")}
    (trigger,) = scaled.spec.triggers

    # KEDA asks from its own namespace, so a short name would not lead to the API.
    host = "headrace-api.headrace.svc"
    assert trigger.metadata["url"] == f"http://{host}/api/v1/queues/{queue}/scaling?slots={slots}"
    assert "headrace-api" in services
    # KEDA keeps to `fallback` for values that it divides by the number of pods.
    assert (trigger.type, trigger.metric_type) == ("metrics-api", "AverageValue")
    assert (trigger.metadata["valueLocation"], trigger.metadata["targetValue"]) == ("wanted_workers", "1")
    assert trigger.metadata["authMode"] == "bearer"
    assert f"TriggerAuthentication/{trigger.authentication_ref.name}" in map(name_of, MANIFESTS)
    assert scaled.spec.fallback.replicas <= scaled.spec.max_replica_count


def test_the_api_has_the_route_and_the_number_that_keda_asks_for() -> None:
    handlers = [found for found in vars(NumbersController).values() if isinstance(found, HTTPRouteHandler)]
    (route,) = (path for found in handlers for path in found.paths if path.endswith("/scaling"))
    pattern = re.sub(r"\{name:str\}", "[a-z]+", rf"http://headrace-api\.headrace\.svc/api/v1{route}")

    for scaled in scaled_objects():
        (trigger,) = scaled.spec.triggers
        url, _, query = trigger.metadata["url"].partition("?")
        assert re.fullmatch(pattern, url)
        assert re.fullmatch("slots=[0-9]+", query)
        assert trigger.metadata["valueLocation"] in ScalingNumbers.__struct_fields__


def test_keda_reads_its_key_from_a_secret_of_the_operator() -> None:
    (authentication,) = (param.values[0] for param in of_kind("TriggerAuthentication"))

    for target in authentication["spec"]["secretTargetRef"]:
        assert target["key"] in SECRETS[target["name"]]


def test_the_file_of_one_queue_becomes_that_of_another_by_its_name() -> None:
    text = (FOLDER / "worker-default.yaml").read_text()
    first, second = manifests_in(text), manifests_in(text.replace("default", "slow"))

    assert {name_of(manifest) for manifest in first}.isdisjoint(map(name_of, second))
    labels = template_of(first[0])["metadata"]["labels"], template_of(second[0])["metadata"]["labels"]
    assert labels[0] != labels[1]
    assert second[0]["spec"]["selector"]["matchLabels"].items() <= labels[1].items()
    for manifest in second:
        if manifest["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(manifest, NEWEST, strict=True)
