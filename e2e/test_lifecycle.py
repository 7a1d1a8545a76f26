"""From a new InferenceService to its deletion: what is made, who may do what, and that no change loses a request."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from e2e.stack import models
from e2e.stack.load import Load
from e2e.stack.objects import apply, get
from e2e.stack.traffic import SteadyLoad
from e2e.stack.watching import CONTROL_KEY_HEADER, SERVICE_LABEL, Api, Settings, pause, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

WIDTH, LAYERS = 64, 2
CHILDREN = {
    "deployments": "/apis/apps/v1",
    "services": "/api/v1",
    "configmaps": "/api/v1",
    "serviceaccounts": "/api/v1",
    "secrets": "/api/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
}
SMALL, LARGE = ({"maxBatchSize": n, "maxQueueDelayMicroseconds": 1000 * n, "instances": 1} for n in (2, 8))


@pytest.fixture(scope="module")
def api(product: Cluster) -> Iterator[Api]:
    """A namespace in which three services come up side by side."""
    with scratch(product, "lifecycle") as api:
        namespace = api.namespace
        minimal = models.service("minimal", models.waiting_model(2000, 100), namespace=namespace)
        minimal["spec"] = {k: minimal["spec"][k] for k in ("model", "slo", "placement")}
        dense = models.service("dense", models.onnx_model(WIDTH), pool="cpu", namespace=namespace)
        busy = models.service(
            "busy",
            models.waiting_model(4000, 200),
            pool="cpu",
            namespace=namespace,
            batching={"mode": "Fixed", "fixed": SMALL},
            scaling={"minReplicas": 3, "maxReplicas": 3},
        )
        storage = models.onnx_storage(namespace, width=WIDTH, layers=LAYERS)
        apply(product, [storage, minimal, dense, busy])
        yield api


@pytest.fixture(scope="module")
def load(api: Api) -> Load:
    return Load(api.cluster, namespace=api.namespace).start()


def test_model_slo_and_pool_are_enough(api: Api) -> None:
    api.until_ready("minimal")
    status, body = api.infer("minimal")
    assert status == http.client.OK, body
    assert json.loads(body)["outputs"][0]["data"] == [8.0]


def test_everything_is_rendered_and_owned(api: Api) -> None:
    uid = (api.service("minimal") or {})["metadata"]["uid"]
    for resource, group in CHILDREN.items():
        found = api.objects(resource, "minimal", group)
        assert len(found) == 1, resource
        (owner,) = found[0]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("InferenceService", "minimal", uid)
        assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, True)


def test_kubectl_get_tells_at_a_glance(api: Api) -> None:
    header, row = api.cluster.kubectl("get", "tis", "minimal", "-n", api.namespace).stdout.splitlines()
    columns = ["NAME", "READY", "SLO", "P99", "THROUGHPUT", "REPLICAS", "BATCH", "POOL", "COST/1K", "REASON", "AGE"]
    assert header.split() == columns
    cells = dict(zip(columns, row.split(), strict=True))
    assert {"NAME": "minimal", "READY": "True", "REPLICAS": "1/1", "BATCH": "1/0×1", "POOL": "gpu"}.items() <= (
        cells.items()
    )


def test_pods_meet_the_restricted_standard(api: Api) -> None:
    """The namespace enforces it, so a pod that does not meet it would not be there."""
    labels = get(api.cluster, "namespace", api.namespace) or {}
    assert labels["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(api.ready_pods("minimal")) == 1
    root = {"containers": [{"name": "c", "image": "x", "securityContext": {"runAsUser": 0}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": root}
    status, body = api.send("POST", f"/api/v1/namespaces/{api.namespace}/pods", pod)
    assert (status, b"PodSecurity" in body) == (http.client.FORBIDDEN, True)


def test_the_control_api_asks_for_the_key(api: Api) -> None:
    for path in ("repository/index", "repository/models/minimal/unload"):
        status, _ = api.triton("POST", "minimal", path, {})
        assert status == http.client.FORBIDDEN, path
    wrong = {CONTROL_KEY_HEADER: "x" * 40}
    assert api.triton("POST", "minimal", "repository/index", {}, wrong)[0] == http.client.FORBIDDEN
    assert api.infer("minimal")[0] == http.client.OK
    (secret,) = api.objects("secrets", "minimal")
    key = {CONTROL_KEY_HEADER: base64.b64decode(secret["data"]["key"]).decode()}
    assert api.triton("POST", "minimal", "repository/index", {}, key)[0] == http.client.OK


def check_answer(api: Api, name: str) -> None:
    """The server's answer is the network's."""
    rows = [[(7 * i % 11) / 11 for i in range(WIDTH)]]
    network = onnx.load_from_string(models.onnx_bytes(width=WIDTH, layers=LAYERS))
    outputs: Any = ReferenceEvaluator(network).run(None, {"X": np.array(rows, "float32")})
    status, body = api.infer(name, rows)
    assert status == http.client.OK, body
    assert json.loads(body)["outputs"][0]["data"] == pytest.approx(list(outputs[0][0]), rel=1e-4, abs=1e-5)


def test_an_onnx_model_from_a_config_map_answers(api: Api) -> None:
    api.until_ready("dense")
    check_answer(api, "dense")


def test_an_onnx_model_from_a_claim_answers(local: Cluster, api: Api) -> None:
    name, folder = f"{api.namespace}-models", local.node_path(api.namespace) / "dense" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(models.onnx_bytes(width=WIDTH, layers=LAYERS))
    size, modes = {"storage": "1Gi"}, ["ReadOnlyMany"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": size,
            "accessModes": modes,
            "storageClassName": "",
            "hostPath": {"path": str(folder.parents[1])},
            "claimRef": {"namespace": api.namespace, "name": "models"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": api.namespace},
        "spec": {
            "accessModes": modes, "storageClassName": "", "volumeName": name, "resources": {"requests": size},
        },
    }  # fmt: skip
    model = {**models.onnx_model(WIDTH), "storage": {"uri": "pvc://models/dense"}}
    apply(local, [volume, claim, models.service("claimed", model, pool="cpu", namespace=api.namespace)])
    try:
        api.until_ready("claimed")
        check_answer(api, "claimed")
    finally:
        local.kubectl("delete", "pv", name, "--wait=false")


def in_force(api: Api, name: str) -> Settings:
    return Settings.of_spec((api.service(name) or {})["spec"]["batching"]["fixed"])


def test_fixed_settings_reach_every_pod_and_lose_no_request(api: Api, load: Load) -> None:
    api.until_ready("busy", replicas=3)
    before = api.uids("busy")
    assert api.all_settings("busy") == 3 * [Settings.of_spec(SMALL)]
    with SteadyLoad(load, "busy", 60) as steady:
        api.patch("busy", {"batching": {"mode": "Fixed", "fixed": LARGE}})
        api.until("the settings", lambda: api.all_settings("busy") == 3 * [Settings.of_spec(LARGE)], "busy")
        pause(3)
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    assert steady.answered > 0
    assert api.uids("busy") == before


def test_a_new_pod_starts_with_the_settings_in_force(api: Api, load: Load) -> None:
    api.until_ready("busy", replicas=3)
    before = api.uids("busy")
    with SteadyLoad(load, "busy", 60) as steady:
        victim = api.pods("busy")[0]["metadata"]
        api.cluster.kubectl("delete", "pod", victim["name"], "-n", api.namespace, "--wait=false")
        first: list[Settings | None] = []

        def come() -> bool:
            fresh = [p for p in api.pods("busy") if p["metadata"]["uid"] not in before]
            first.extend(s for s in (api.settings(p, "busy") for p in fresh) if s)
            return bool(first) and len(api.ready_pods("busy")) == 3

        api.until("a new pod", come, "busy")
        # The old one leaves after its drain time, which is when a request could be lost.
        api.until("the old pod to leave", lambda: len(api.objects("pods", "busy")) == 3, "busy")
    # Not loaded afterwards: what it says of itself first is it already.
    assert first[0] == in_force(api, "busy")
    assert (steady.failed, steady.starts) == (0, 1), steady.said


def test_a_new_model_rolls_and_loses_no_request(api: Api, load: Load) -> None:
    before = api.uids("busy")
    with SteadyLoad(load, "busy", 60) as steady:
        api.patch("busy", {"model": models.waiting_model(5000, 200)})
        api.until_ready("busy", replicas=3)
        api.until("the old pods to leave", lambda: len(api.objects("pods", "busy")) == 3, "busy")
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    assert not before & api.uids("busy")
    assert api.all_settings("busy") == 3 * [in_force(api, "busy")]


def test_fewer_replicas_under_load_lose_no_request(api: Api, load: Load) -> None:
    with SteadyLoad(load, "busy", 60) as steady:
        api.patch("busy", {"scaling": {"minReplicas": 1, "maxReplicas": 1}})
        api.until("two pods to leave", lambda: len(api.objects("pods", "busy")) == 1, "busy")
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    api.until_ready("busy", replicas=1)


def owned(cluster: Cluster, kinds: str, api: Api, name: str) -> list[str]:
    selector = f"{SERVICE_LABEL}={name}"
    found = cluster.kubectl("get", kinds, "-n", api.namespace, "-l", selector, "-o", "name", "--ignore-not-found")
    return found.stdout.split()


def test_deletion_answers_what_is_in_flight_and_leaves_nothing(api: Api) -> None:
    """The request takes longer than the drain time, so the server itself must wait for it after SIGTERM."""
    slow = models.service("slow", models.waiting_model(4_000_000, 0), pool="cpu", slo_ms=20_000)
    slow["metadata"]["namespace"] = api.namespace
    slow["spec"]["runtime"]["drainSeconds"] = 1
    apply(api.cluster, [slow])
    api.until_ready("slow")
    kinds = api.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").stdout.split()
    every = ",".join(k for k in kinds if not k.startswith("events"))
    assert len(owned(api.cluster, every, api, "slow")) >= len(CHILDREN)
    answer: list[tuple[int, bytes]] = []
    request = threading.Thread(target=lambda: answer.append(api.infer("slow")))
    request.start()
    pause(0.5)
    api.cluster.kubectl("delete", "tis", "slow", "-n", api.namespace, "--wait=false")
    request.join()
    assert answer[0][0] == http.client.OK, answer
    api.until("everything to be gone", lambda: not owned(api.cluster, every, api, "slow"), "slow")


def gone(api: Api, resource: str, group: str) -> bool:
    """Whether no object of any service is left."""
    return not any(SERVICE_LABEL in (o["metadata"].get("labels") or {}) for o in api.objects(resource, group=group))


def test_deleting_the_last_leaves_nothing(api: Api) -> None:
    names = ("minimal", "dense", "busy", "claimed")
    api.cluster.kubectl("delete", "tis", *names, "-n", api.namespace, "--ignore-not-found", "--wait=false")
    for resource, group in {**CHILDREN, "pods": "/api/v1"}.items():
        api.until(f"no {resource}", partial(gone, api, resource, group), "busy")
