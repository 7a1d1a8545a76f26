"""What a cluster's kubelets, quotas and taints do to a service, told by whoever did it: none of it is simulated."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest
from throughline.api.base import API_VERSION

from e2e.stack import models, storage
from e2e.stack.objects import apply, condition, get, until
from e2e.stack.watching import SERVICE_LABEL, Api, relay_pod, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

STAYS, LIMITED, TAINTED, SHARED = "failed-pods", "limited", "tainted-pool", "scaled-twice"
CLAIM, BESIDE, LINKED = "models", "beside", "linked"
RUNTIME: dict[str, Any] = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}


ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
IMPORTANT = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "field-important"},
    "value": 1000,
}
ON_ANY_NODE = {"nodeSelectorTerms": [{"matchExpressions": [{"key": HOST, "operator": "Exists"}]}]}
FITTED: dict[str, Any] = {
    **RUNTIME,
    "podLabels": {"team": "search"},
    "podAnnotations": {"example.com/owner": "search"},
    "priorityClassName": "field-important",
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"} for key in (ZONE, HOST)
    ],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": ON_ANY_NODE}},
    "securityContext": {"supplementalGroups": [44]},
    "volumes": [{"name": "tables", "mountPath": "/mnt/tables", "configMap": {"name": "kube-root-ca.crt"}}],
}


@pytest.fixture(scope="module")
def api(product: Cluster) -> Iterator[Api]:
    with scratch(product, "field") as api:
        yield api


def service(api: Api, name: str, runtime: dict[str, Any] = RUNTIME, **spec: Any) -> dict[str, Any]:
    model = models.waiting_model(2000, 100)
    return models.service(name, model, pool="cpu", namespace=api.namespace, runtime=runtime, **spec)


def refused_pod(api: Api, service: str) -> dict[str, Any]:
    """A pod of the service that its node's kubelet does not admit: it stays, in phase Failed."""
    made = relay_pod(api.cluster, api.namespace)
    made["metadata"] |= {"name": f"{service}-refused", "labels": {SERVICE_LABEL: service}}
    made["spec"]["nodeName"] = api.ready_pods(service)[0]["spec"]["nodeName"]
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000"}}
    return made


def test_a_pod_that_failed_and_stays_does_not_hold_up_a_new_model(api: Api) -> None:
    apply(api.cluster, [IMPORTANT, service(api, STAYS, runtime=FITTED, scaling={"mode": "Off"})])
    api.until_ready(STAYS)
    fits(api.ready_pods(STAYS)[0])
    refused = refused_pod(api, STAYS)
    refused["metadata"]["labels"]["throughline.io/revision"] = "older"
    apply(api.cluster, [refused])
    phase = lambda: (get(api.cluster, "pod", f"{STAYS}-refused", api.namespace) or {})["status"].get("phase")  # noqa: E731
    until("the kubelet to refuse the pod", lambda: phase() == "Failed", seconds=60)
    api.patch(STAYS, {"model": models.waiting_model(2000, 200)})
    said = api.until_condition(STAYS, "WorkloadReady", "True", "Available")
    assert said["message"].startswith("1 of 1 replica")
    api.until_condition(STAYS, "Ready", "True")
    assert phase() == "Failed", "nobody has deleted it"


def fits(pod: dict[str, Any]) -> None:
    """The pod, as the API server stores it, has what `FITTED` says."""
    assert pod["metadata"]["labels"]["team"] == "search"
    assert pod["metadata"]["annotations"]["example.com/owner"] == "search"
    assert pod["spec"]["priority"] == IMPORTANT["value"]
    assert [c["topologyKey"] for c in pod["spec"]["topologySpreadConstraints"]] == [ZONE, HOST]
    assert pod["spec"]["affinity"] == FITTED["affinity"]
    assert pod["spec"]["securityContext"]["supplementalGroups"] == [44]
    (server,) = pod["spec"]["containers"]
    assert {"name": "volume-tables", "mountPath": "/mnt/tables", "readOnly": True} in server["volumeMounts"]


def test_a_quotas_own_words_say_why_pods_are_missing(api: Api) -> None:
    leaving = lambda: [p for p in api.objects("pods") if p["metadata"].get("deletionTimestamp")]  # noqa: E731
    until("the pods of other tests to be gone", lambda: not leaving(), seconds=120)
    there = len([p for p in api.objects("pods") if p["status"].get("phase") != "Failed"])
    meta = {"name": "team", "namespace": api.namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": str(there + 1)}}}
    apply(api.cluster, [quota, service(api, LIMITED, scaling={"minReplicas": 2})])
    try:
        said = api.until_condition(LIMITED, "WorkloadReady", "False", "QuotaExceeded")
    finally:
        api.cluster.kubectl("delete", "resourcequota", "team", "-n", api.namespace)
        api.cluster.kubectl("delete", "inferenceservice", LIMITED, "-n", api.namespace, "--wait=false")
    assert "exceeded quota: team" in said["message"]
    assert "raise the ResourceQuota" in said["message"]


def autoscaler(api: Api, name: str, api_version: str, kind: str, target: str, **bounds: int) -> dict[str, Any]:
    """One outside of whose bounds the count is: it scales without any metric."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    reference = {"apiVersion": api_version, "kind": kind, "name": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": api.namespace},
        "spec": {"scaleTargetRef": reference, "metrics": [cpu], **bounds},
    }


def test_autoscalers_are_named_where_they_interfere_and_obeyed_in_mode_off(api: Api) -> None:
    apply(api.cluster, [service(api, SHARED, scaling={"minReplicas": 1, "maxReplicas": 3})])
    api.until_condition(SHARED, "Accepted", "True")
    api.until("the Deployment", lambda: api.objects("deployments", SHARED, "/apis/apps/v1"), SHARED)
    deployment = api.objects("deployments", SHARED, "/apis/apps/v1")[0]["metadata"]["name"]

    def replicas() -> int:
        return int(api.deployment(deployment)["spec"]["replicas"])

    def kubectl(*arguments: str) -> str:
        return api.cluster.kubectl(*arguments, "-n", api.namespace).stdout

    apply(api.cluster, [autoscaler(api, "second", "apps/v1", "Deployment", deployment, minReplicas=2, maxReplicas=4)])
    said = api.until_condition(SHARED, "ScalingActive", "False", "ConflictingScaler")
    assert f"kubectl delete hpa second -n {api.namespace}" in said["message"]
    assert replicas() == 2
    kubectl("delete", "hpa", "second")

    # What kubectl and an autoscaler write through the scale subresource is obeyed.
    kubectl("patch", "tis", SHARED, "--type=merge", "-p", '{"spec":{"scaling":{"mode":"Off"}}}')
    kubectl("scale", f"tis/{SHARED}", "--replicas=5")
    until("the count of kubectl scale", lambda: replicas() == 5, seconds=60)
    apply(
        api.cluster,
        [autoscaler(api, "ours", API_VERSION, "InferenceService", SHARED, minReplicas=1, maxReplicas=2)],
    )
    until("the count of the autoscaler", lambda: replicas() == 2, seconds=60)
    api.until_condition(SHARED, "ScalingActive", "True", "Off")
    kubectl("patch", "tis", SHARED, "--type=merge", "-p", '{"spec":{"scaling":{"mode":"Auto"}}}')
    said = api.until_condition(SHARED, "ScalingActive", "False", "ConflictingScaler")
    assert f"HorizontalPodAutoscaler ours scales InferenceService {SHARED}" in said["message"]
    kubectl("delete", "inferenceservice", SHARED, "--wait=false")


BESIDE_SOURCE = """
import os
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def initialize(self, args):
        with open(os.path.join(args["model_repository"], "tokenizer", "factor")) as file:
            self.factor = float(file.read())
    def execute(self, requests):
        given = [pb_utils.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", g[:, :1] * self.factor)]) for g in given]
"""


def test_a_model_reads_what_lies_beside_its_version_and_a_link_out_of_its_folder_is_named(
    api: Api, local: Cluster
) -> None:
    folder = storage.install(local, CLAIM, api.namespace)
    for model in (BESIDE, LINKED):
        (folder / model / "1").mkdir(parents=True)
    (folder / BESIDE / "1/model.py").write_text(BESIDE_SOURCE)
    (folder / BESIDE / "tokenizer").mkdir()
    (folder / BESIDE / "tokenizer/factor").write_text("3")
    (folder / LINKED / "1/model.py").symlink_to("/data/elsewhere/model.py")
    made = [service(api, name, scaling={"mode": "Off"}) for name in (BESIDE, LINKED)]
    for one in made:
        one["spec"]["model"]["storage"]["uri"] = f"pvc://{CLAIM}/{one['metadata']['name']}"
    apply(api.cluster, made)
    try:
        said = api.until_condition(LINKED, "WorkloadReady", "False", "VolumeNotReady")
        assert "1/model.py is a link to /data/elsewhere/model.py" in said["message"]
        api.until_ready(BESIDE)
        status, answer = api.infer(BESIDE)
        assert status == http.client.OK, answer
        assert json.loads(answer)["outputs"][0]["data"] == [3.0]
    finally:
        for name in (BESIDE, LINKED):
            api.cluster.kubectl("delete", "inferenceservice", name, "-n", api.namespace, "--wait=false")
        local.kubectl("delete", "pv", f"{api.namespace}-{CLAIM}", "--wait=false", check=False)


def test_a_tainted_node_is_named_with_the_toleration_that_opens_it(api: Api) -> None:
    labels = {"kubernetes.io/arch": "amd64", "throughline.io/pool": TAINTED}
    taint = {"key": "vendor.example/accelerator", "value": "present", "effect": "NoSchedule"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": TAINTED, "labels": labels}}
    apply(api.cluster, [{**node, "spec": {"taints": [taint]}}, models.pool(TAINTED)])
    try:
        said = until("the pool to say so", lambda: pool_says(api, "NodesTainted"), seconds=60)
        for words in (f"node {TAINTED}", "vendor.example/accelerator=present:NoSchedule", "spec.tolerations"):
            assert words in said
        tolerated = {"key": taint["key"], "operator": "Exists", "effect": "NoSchedule"}
        assert f"{{key: {taint['key']}, operator: Exists, effect: NoSchedule}}" in said
        apply(api.cluster, [models.pool(TAINTED, tolerations=[tolerated])])
        until("the taint to be tolerated", lambda: pool_says(api, "NodesNotReady"), seconds=60)
    finally:
        api.cluster.kubectl("delete", "servingpool", TAINTED, "--ignore-not-found", "--wait=false")
        api.cluster.kubectl("delete", "node", TAINTED, "--ignore-not-found", "--wait=false")


def pool_says(api: Api, reason: str) -> str:
    ready = condition(get(api.cluster, "servingpool", TAINTED), "Ready")
    return str(ready["message"]) if ready.get("reason") == reason else ""
