"""The Job of an evaluation: what it may do, whom it reaches, and that it judges what would serve."""

from __future__ import annotations

from typing import Any

import pytest
from throughline.api.batching import BatchSettings
from throughline.api.evaluation import Evaluation
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.manifests import Identity, RenderOptions, evaluation, render
from throughline.domain.manifests.names import SERVICE_LABEL

from tests.api.resources import changed
from tests.api.suites import EVALUATION_SUITE

IDENTITY = Identity("fraud", "team-a", "uid-1")
OPTIONS = RenderOptions("triton:1", "throughline", evaluator_image="evaluator:1")
POOL = ServingPoolSpec.model_validate(
    {
        "nodeSelector": {"pool": "gpu"}, "accelerator": {"resource": "nvidia.com/gpu"}, "costPerHour": "1",
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
)  # fmt: skip
SETTINGS = BatchSettings(max_batch_size=8)
PVC = {"pvc": {"claimName": "data", "path": "a/rows.parquet"}}
URI = {"uri": {"url": "https://store.example:9000/rows.csv", "secretName": "store"}}


def spec(uri: str = "pvc://models/fraud", **more: Any) -> InferenceServiceSpec:
    return InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": uri}, "backend": "onnxruntime", "version": 3},
            "slo": {"latencyP99Milliseconds": 100},
            "placement": {"pools": [{"name": "gpu"}]},
            **more,
        }
    )


def task(source: dict[str, Any] = PVC, **declared: Any) -> evaluation.Assignment:
    suite = changed(EVALUATION_SUITE, ("spec/dataset/source", source))["spec"]
    evaluated = Evaluation.model_validate({"suites": [{"name": "s"}], **declared})
    return evaluation.Assignment("run-1", "uid-2", "s", EvaluationSuiteSpec.model_validate(suite), evaluated, 77)


def job(assignment: evaluation.Assignment, service: InferenceServiceSpec | None = None) -> dict[str, Any]:
    return dict(evaluation.job(IDENTITY, service or spec(), POOL, OPTIONS, assignment, 2))


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["template"]["spec"])


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod(manifest).get("initContainers", []), *pod(manifest)["containers"]]


def mounts(container: dict[str, Any]) -> dict[str, Any]:
    return {m["mountPath"]: m for m in container["volumeMounts"]}


@pytest.mark.parametrize("target", ["Scratch", "Live"])
@pytest.mark.parametrize("source", [PVC, URI, {"configMap": {"name": "rows", "key": "rows.csv"}}])
def test_it_runs_restricted_and_without_a_token(target: str, source: dict[str, Any]) -> None:
    made = job(task(source, target=target))
    assert pod(made)["automountServiceAccountToken"] is False
    assert pod(made)["securityContext"]["runAsNonRoot"] is True
    assert pod(made)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(made)["serviceAccountName"] == "fraud-evaluation"
    for container in containers(made):
        security = container["securityContext"]
        assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "ports" not in container
    assert not [v for v in pod(made)["volumes"] if "hostPath" in v or "secret" in v or "projected" in v]


def test_data_and_model_are_mounted_read_only() -> None:
    evaluator = pod(job(task()))["containers"][0]
    assert {p for p, m in mounts(evaluator).items() if not m.get("readOnly")} == {"/work"}
    assert mounts(evaluator)["/models/fraud/3"]["subPath"] == "fraud/3"
    data = next(v for v in pod(job(task()))["volumes"] if v["name"] == "data")
    assert data["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}


def test_the_scratch_server_is_the_one_that_would_serve() -> None:
    deployed = next(
        m for m in render(IDENTITY, spec(), "gpu", POOL, SETTINGS, OPTIONS, surge=True) if m["kind"] == "Deployment"
    )
    serving = deployed["spec"]["template"]["spec"]["containers"][0]
    _, server = pod(job(task()))["initContainers"]
    assert server["restartPolicy"] == "Always"
    for part in ("image", "command", "args", "env", "resources", "volumeMounts", "securityContext"):
        assert server[part] == serving[part], part
    assert pod(job(task()))["nodeSelector"] == {"kubernetes.io/arch": "amd64", "pool": "gpu"}
    assert pod(job(task()))["tolerations"] == deployed["spec"]["template"]["spec"]["tolerations"]


def test_it_gets_none_of_the_services_requests_and_is_watched_by_the_service() -> None:
    made = job(task())
    assert SERVICE_LABEL not in made["spec"]["template"]["metadata"]["labels"]
    assert made["metadata"]["labels"][SERVICE_LABEL] == "fraud"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-2"


def egress(assignment: evaluation.Assignment) -> list[dict[str, Any]]:
    account, policy = evaluation.surroundings(IDENTITY, assignment)
    assert account["automountServiceAccountToken"] is False
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    labels = job(assignment)["spec"]["template"]["metadata"]["labels"]
    assert selected.items() <= labels.items()
    return list(policy["spec"].get("egress", []))


def test_it_reaches_nothing_but_what_it_must() -> None:
    assert egress(task()) == []
    dns, store = egress(task(URI))
    assert {p["port"] for p in dns["ports"]} == {53}
    assert store == {"ports": [{"protocol": "TCP", "port": 9000}]}
    dns, serving = egress(task(target="Live"))
    assert serving["to"] == [{"podSelector": {"matchLabels": {SERVICE_LABEL: "fraud"}}}]
    assert [p["port"] for p in serving["ports"]] == [8001]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://a/b", 443),
        ("http://a/b", 80),
        ("s3://bucket/key", 443),
        ("http://a:8333/b", 8333),
        ("https://a:x/b", 443),
    ],
)
def test_ports_of_stores(url: str, port: int) -> None:
    _, store = egress(task({"uri": {"url": url}}))
    assert store["ports"][0]["port"] == port


def test_the_port_of_a_store_that_speaks_s3_elsewhere() -> None:
    _, store = egress(task({"uri": {"url": "s3://bucket/key", "endpoint": "http://minio.storage:9000"}}))
    assert store["ports"][0]["port"] == 9000


def test_secrets_are_only_those_of_the_suite() -> None:
    assert "envFrom" not in pod(job(task()))["containers"][0]
    assert pod(job(task(URI)))["containers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_the_live_replicas_are_asked_gently_and_no_server_is_made() -> None:
    made = job(task(target="Live", maxRowsPerSecond=50))
    assert "initContainers" not in pod(made)
    arguments = pod(made)["containers"][0]["args"]
    assert {"--url=grpc://fraud.team-a.svc:8001", "--low-priority", "--max-rows-per-second=50"} <= set(arguments)
    assert "--url=grpc://127.0.0.1:8001" in pod(job(task()))["containers"][0]["args"]


def test_bounds_of_the_job_are_those_declared() -> None:
    made = job(task(retries=5))["spec"]
    assert (made["backoffLimit"], made["activeDeadlineSeconds"]) == (5, 77)
    assert job(task())["metadata"]["name"] == "run-1-2"


def test_inputs_hold_the_suite_as_its_digest_takes_it() -> None:
    made = evaluation.inputs(IDENTITY, spec(), POOL, task())
    assert set(made["data"]) == {"suite.json", "throughline.pbtxt"}
    assert "max_batch_size: 64" in made["data"]["throughline.pbtxt"]
    small = spec(batching={"maxBatchSize": {"min": 1, "max": 4}})
    assert "max_batch_size: 4" in evaluation.inputs(IDENTITY, small, POOL, task())["data"]["throughline.pbtxt"]
