"""The CRDs on the real API server: it must come to the verdict of `throughline validate`, on the same tables."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.api import resources
from tests.domain.manifest_cases import CASES, render_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = f"crd-tests-{secrets.token_hex(3)}"  # of this run alone: the last one may still be terminating


@pytest.fixture(scope="module")
def api(crds: Cluster) -> Iterator[Cluster]:
    crds.kubectl("create", "namespace", NAMESPACE, check=False)
    yield crds
    crds.kubectl("delete", "tis", "--all", "--namespace", NAMESPACE, check=False)
    crds.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def create(cluster: Cluster, resource: dict[str, Any], *arguments: str) -> tuple[bool, str]:
    """Create it as kubectl does, with unknown fields refused; whether it went well, and what was said."""
    if resource["kind"] != "ServingPool":
        resource = {**resource, "metadata": {**resource["metadata"], "namespace": NAMESPACE}}
    result = cluster.kubectl(
        "create", "--validate=strict", "-o", "json", "-f", "-", *arguments, input=json.dumps(resource), check=False
    )
    return result.returncode == 0, result.stdout if result.returncode == 0 else result.stderr


@pytest.mark.parametrize("resource", resources.good().values(), ids=list(resources.good()))
def test_good_resources_are_accepted(api: Cluster, resource: dict[str, Any]) -> None:
    accepted, said = create(api, resource, "--dry-run=server")
    assert accepted, said


@pytest.mark.parametrize(("resource", "field", "_message"), resources.bad().values(), ids=list(resources.bad()))
def test_bad_resources_are_refused_at_the_field(
    api: Cluster, resource: dict[str, Any], field: str, _message: str
) -> None:
    accepted, said = create(api, resource, "--dry-run=server")
    assert not accepted
    # Of what is missing, misspelt or a label the API server names the parent.
    parent, _, name = field.rpartition(".")
    named = parent if parent.startswith("metadata.") else name
    assert re.sub(r"\[\d+\]$", "", field) in said or named in said, said


@pytest.mark.parametrize(
    ("resource", "field", "message"), resources.rule_breakers().values(), ids=list(resources.rule_breakers())
)
def test_rules_name_the_field_and_the_fix(api: Cluster, resource: dict[str, Any], field: str, message: str) -> None:
    accepted, said = create(api, resource, "--dry-run=server")
    assert not accepted
    assert f"{field}: Invalid value" in said
    assert message.partition("; got ")[0] in said  # which of several values it is, `validate` adds


@pytest.mark.parametrize("example", sorted((ROOT / "manifests" / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_examples_are_accepted(api: Cluster, example: Path) -> None:
    arguments = ("--dry-run=server", "--validate=strict", "--namespace", NAMESPACE)
    api.kubectl("apply", *arguments, "-f", str(example))


def test_a_new_resource_is_stored_as_written_and_looks_unseen(api: Cluster) -> None:
    """Defaults in the spec would show as a difference in GitOps; a status without generation would look current."""
    accepted, said = create(api, resources.INFERENCE_SERVICE)
    assert accepted, said
    stored = json.loads(said)
    assert stored["spec"] == resources.INFERENCE_SERVICE["spec"]
    assert stored["status"] == {"observedGeneration": -1}


def test_numbers_are_kept_as_numbers(api: Cluster) -> None:
    resource = resources.changed(resources.SERVING_POOL, ("metadata/name", "crd-test"), ("spec/costPerHour", 2))
    accepted, said = create(api, resource, "--dry-run=server")
    assert accepted, said
    assert json.loads(said)["spec"]["costPerHour"] == 2


def test_kubectl_get_tis_tells_at_a_glance(api: Cluster) -> None:
    create(api, resources.changed(resources.INFERENCE_SERVICE, ("metadata/name", "glance")))
    conditions = [
        {"type": t, "status": s, "reason": r, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for t, s, r in (("Ready", "True", "Serving"), ("SLOMet", "False", "AboveTarget"))
    ]
    status = {
        "observedGeneration": 1,
        "conditions": conditions,
        "reason": "AboveTarget",
        "pool": "gpu",
        "replicas": {"ready": 2, "desired": 3, "summary": "2/3"},
        "batch": {"summary": "8/2ms×1"},
        "slo": {"latencyP99": "140ms", "throughput": "1.9k/s", "costPerThousand": "0.0006"},
    }
    api.kubectl(
        *("patch", "tis", "glance", "-n", NAMESPACE, "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )
    header, row = api.kubectl("get", "tis", "glance", "-n", NAMESPACE).stdout.splitlines()
    assert header.split() == [
        *("NAME", "READY", "SLO", "P99", "THROUGHPUT", "REPLICAS", "BATCH", "POOL", "COST/1K", "REASON", "AGE")
    ]
    assert re.split(r"\s{2,}", row)[:-1] == [
        *("glance", "True", "False", "140ms", "1.9k/s", "2/3", "8/2ms×1", "gpu", "0.0006", "AboveTarget")
    ]


def test_a_run_changes_in_its_status_alone(api: Cluster) -> None:
    accepted, said = create(api, resources.EVALUATION_RUN)
    assert accepted, said
    stored = json.loads(said)
    assert stored["spec"] == resources.EVALUATION_RUN["spec"]
    assert stored["status"] == {"observedGeneration": -1}
    patch = ("patch", "trun", stored["metadata"]["name"], "-n", NAMESPACE, "--type=merge")
    for change in ({"pool": "other"}, {"missed": 1}, {"model": {"version": 2}}):
        refused = api.kubectl(*patch, "-p", json.dumps({"spec": change}), check=False)
        assert "the spec of an EvaluationRun is a record and never changes" in refused.stderr
    succeeded = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Judged",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    metrics = [{"metric": "accuracy", "value": "0.82", "low": "0.8", "high": "0.84"}]
    status = {"conditions": [succeeded], "verdict": "Failed", "metrics": metrics, "rows": 1000}
    api.kubectl(*patch, "--subresource=status", "-p", json.dumps({"status": status}))
    row = api.kubectl("get", "trun", "-n", NAMESPACE, "--no-headers").stdout.split()
    assert row[:-1] == [stored["metadata"]["name"], "fraud", "census", "1a2b3c4d5e", "Revision", "True", "Failed"]


def test_users_write_no_status(api: Cluster) -> None:
    resource = resources.changed(resources.INFERENCE_SERVICE, ("metadata/name", "forged"))
    _, said = create(api, {**resource, "status": {"observedGeneration": 7}}, "--dry-run=server")
    assert json.loads(said)["status"] == {"observedGeneration": -1}


def test_the_name_of_a_field_explains_itself(api: Cluster) -> None:
    text = api.kubectl("explain", "inferenceservice.spec.scaling.maxReplicas").stdout
    assert "Default: 10" in text


def test_every_column_of_a_pool(api: Cluster) -> None:
    create(api, resources.changed(resources.SERVING_POOL, ("metadata/name", "crd-columns")))
    try:
        header = api.kubectl("get", "tpool", "crd-columns").stdout.splitlines()[0].split()
        assert header == ["NAME", "NODES", "ALLOCATABLE", "FREE", "SERVICES", "COST", "REGION", "READY", "AGE"]
    finally:
        api.kubectl("delete", "tpool", "crd-columns")


def test_rendered_pods_are_accepted_under_the_restricted_standard(api: Cluster) -> None:
    api.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/warn=restricted", "--overwrite")
    rendered = [(case, m) for case in CASES for m in render_case(case) if m["kind"] == "Deployment"]
    items = [{**m, "metadata": {"name": case, "namespace": NAMESPACE}} for case, m in rendered]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    made = api.kubectl("create", "--validate=strict", "--dry-run=server", "-f", "-", input=listed, check=False)
    assert made.returncode == 0, made.stderr
    assert len(made.stdout.splitlines()) == len(CASES)
    assert "violate PodSecurity" not in made.stderr
