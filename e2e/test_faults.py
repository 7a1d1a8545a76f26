"""What is killed comes back as it was: a pod, a server, the operator in the middle of a change, a kubelet, Prometheus.

One service on two nodes, under a steady load for which it has tuned itself.
"""

from __future__ import annotations

import contextlib
import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e import helm
from e2e.stack import models, prometheus, up
from e2e.stack.load import Load
from e2e.stack.objects import apply, condition, get, until
from e2e.stack.traffic import Requests, SteadyLoad
from e2e.stack.watching import SECONDS, Api, Settings, kill_container, pause, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

NAME, POOL, EDGE = "steady", "wide", "edge-0"
REPLICAS = 2
# One unbatched replica carries 1 / (20 + 1) ms = 47 requests per second.
MODEL = models.waiting_model(20_000, 1_000)
PER_SECOND = 90
TUNING_SECONDS = 240.0
# A request with this value breaks the model of one server: e2e/stack/model/model.py.
POISON = -1.0e30
# With this one the model does not answer for longer than the metrics window.
HANG = -2.0e30


@dataclass
class Scene:
    api: Api
    load: Load

    def status(self) -> dict[str, Any]:
        return dict((self.api.service(NAME) or {}).get("status") or {})

    def steady(self) -> SteadyLoad:
        return SteadyLoad(self.load, NAME, PER_SECOND)

    def in_force(self) -> Settings:
        """Batch settings as the status has them."""
        return Settings.of_spec(self.status()["batch"]["settings"])

    def agree(self) -> bool:
        """Whether every replica is there and all of them, and the file that a restart reads, have the same settings."""
        wanted = self.in_force()
        (file,) = [c["data"]["throughline.pbtxt"] for c in self.api.objects("configmaps", NAME)]
        return (
            self.api.all_settings(NAME) == REPLICAS * [wanted]
            and f"max_batch_size: {wanted.max_batch_size}\n" in file
            and f"count: {wanted.instances}\n" in file
        )

    def healed(self) -> None:
        """Ready with all replicas, and one set of settings on all."""
        self.api.until_ready(NAME, replicas=REPLICAS)
        self.api.until("one set of settings", self.agree, NAME)


@pytest.fixture(scope="module")
def scene(product: Cluster) -> Iterator[Scene]:
    edge = [{"key": "throughline.io/edge", "operator": "Exists", "effect": "NoSchedule"}]
    wide = models.pool(POOL, tolerations=edge, nodeSelector={"kubernetes.io/os": "linux"})
    scaling = {"minReplicas": REPLICAS, "maxReplicas": REPLICAS}
    with scratch(product, "faults") as api:
        service = models.service(NAME, MODEL, pool=POOL, slo_ms=200, namespace=api.namespace, scaling=scaling)
        apply(product, [wide, service])
        load = Load(product, namespace=api.namespace).start()
        api.until_ready(NAME, replicas=REPLICAS)
        yield Scene(api, load)
        product.kubectl("delete", "tpool", POOL, "--wait=false")


def operator(cluster: Cluster) -> dict[str, Any]:
    found = get(cluster, "pod", up.operator_pod(cluster), helm.NAMESPACE)
    assert found is not None
    return found


def operator_restarts(cluster: Cluster) -> int:
    return int(operator(cluster)["status"]["containerStatuses"][0]["restartCount"])


def kill_operator(cluster: Cluster) -> None:
    """SIGKILL, and wait until it is there again."""
    before = operator_restarts(cluster)
    kill_container(operator(cluster))

    def back() -> bool:
        return operator_restarts(cluster) > before and condition(operator(cluster), "Ready")["status"] == "True"

    until("the operator to be back", back, seconds=SECONDS)


@contextlib.contextmanager
def background(requests: Requests) -> Iterator[Requests]:
    requests.start()
    try:
        yield requests
    finally:
        requests.stop()


def check_requests(scene: Scene) -> None:
    """Every request is answered again."""
    with scene.steady() as steady:
        pause(5)
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    assert steady.answered > 0


def test_an_operator_killed_while_it_watches_a_change_goes_on(local: Cluster, scene: Scene) -> None:
    """Its memory is the status: the change under watch is neither lost nor made twice, and the tuning ends."""
    api = scene.api
    with scene.steady() as steady:
        api.until(
            "a change under watch", lambda: scene.status().get("control", {}).get("trial"), NAME, seconds=TUNING_SECONDS
        )
        kill_operator(local)

        def tuned() -> bool:
            # On a busy machine a change may be taken back and another one tried.
            known = condition(api.service(NAME), "BatchTuned").get("status") == "True"
            return known and scene.in_force().max_batch_size > 1

        api.until("the tuning to end in batches", tuned, NAME, seconds=TUNING_SECONDS)
        scene.healed()
    assert (steady.failed, steady.starts) == (0, 1), steady.said


def test_an_operator_killed_between_two_pods_finishes_the_change(local: Cluster, scene: Scene) -> None:
    api, tuned = scene.api, scene.in_force()
    fixed = {"maxBatchSize": 2 * tuned.max_batch_size, "maxQueueDelayMicroseconds": 500, "instances": 1}
    wanted = Settings.of_spec(fixed)
    with scene.steady() as steady:
        api.patch(NAME, {"batching": {"mode": "Fixed", "fixed": fixed}})
        until("the first pod", lambda: wanted in api.all_settings(NAME), seconds=SECONDS, every=0.02)
        victim = operator(local)
        kill_container(victim)
        half = api.all_settings(NAME)
        scene.healed()
    assert wanted in half
    assert scene.in_force() == wanted
    assert operator_restarts(local) > victim["status"]["containerStatuses"][0]["restartCount"]
    assert (steady.failed, steady.starts) == (0, 1), steady.said


def test_a_pod_that_fails_its_requests_is_named_and_repaired(scene: Scene) -> None:
    """Its peer answers, so neither the settings nor the spread of the load are blamed; no pod is replaced."""
    api, before = scene.api, scene.api.uids(NAME)
    # A change of settings loads the model, too.
    api.patch(NAME, {"batching": {"mode": "Fixed", "fixed": scene.status()["batch"]["settings"]}})
    api.until_condition(NAME, "BatchTuned", "True", "Fixed")
    wanted = scene.in_force()
    victim = api.ready_pods(NAME)[0]
    name, address = victim["metadata"]["name"], victim["status"]["podIP"]
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 8], "data": [POISON] * 8}
    with background(Requests(api, NAME, per_second=20)) as requests:
        assert api.triton("POST", address, f"models/{NAME}/infer", {"inputs": [tensor]})[0] >= http.client.BAD_REQUEST
        said = api.until_condition(NAME, "SLOMet", "False", "PodFailing")
        assert name in said["message"]
        assert condition(api.service(NAME), "LoadBalanced")["status"] != "False"
        api.until_condition(NAME, "SLOMet", "True")
        last = len(requests.failed)
        pause(5)
        assert len(requests.failed) == last > 0, requests.failed[-1]
    told = [d["message"] for d in scene.status()["decisions"]]
    assert any(name in message and "loaded again" in message for message in told), told
    assert scene.in_force() == wanted
    assert (api.uids(NAME), len(api.ready_pods(NAME))) == (before, REPLICAS)
    check_requests(scene)


def test_a_pod_that_hangs_is_named(scene: Scene) -> None:
    """Requests wait at it; its peer answers, and is not blamed for having all of the load."""
    api, before = scene.api, scene.api.uids(NAME)
    # Of two instances the other one would answer.
    api.patch(NAME, {"batching": {"mode": "Fixed", "fixed": {**scene.status()["batch"]["settings"], "instances": 1}}})
    api.until_condition(NAME, "BatchTuned", "True", "Fixed")
    wanted = scene.in_force()
    victim = api.ready_pods(NAME)[0]
    name, address = victim["metadata"]["name"], victim["status"]["podIP"]
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 8], "data": [HANG] * 8}
    with background(Requests(api, NAME, per_second=20)):
        with contextlib.suppress(OSError):  # no answer, in the time that a client waits
            api.triton("POST", address, f"models/{NAME}/infer", {"inputs": [tensor]})
        said = api.until_condition(NAME, "SLOMet", "False", "NoAnswer")
        assert name in said["message"]
        assert condition(api.service(NAME), "LoadBalanced")["status"] != "False"
        # What has waited for so long is late, and is told of as that.
        api.until("answers", lambda: condition(api.service(NAME), "SLOMet")["reason"] != "NoAnswer", NAME)
    assert (scene.in_force(), api.uids(NAME)) == (wanted, before)
    check_requests(scene)


def test_a_deleted_pod_comes_back_with_the_settings_in_force(scene: Scene) -> None:
    """Without any grace, so that what this pod has in flight is lost; nothing else is."""
    api, wanted, before = scene.api, scene.in_force(), scene.api.uids(NAME)
    first: list[Settings] = []

    def fresh() -> bool:
        pods = [p for p in api.pods(NAME) if p["metadata"]["uid"] not in before]
        first.extend(s for s in (api.settings(p, NAME) for p in pods) if s)
        return bool(first)

    with scene.steady():
        name = api.pods(NAME)[0]["metadata"]["name"]
        api.cluster.kubectl("delete", "pod", name, "-n", api.namespace, "--grace-period=0", "--force")
        api.until("a new pod", fresh, NAME)
        scene.healed()
    assert first[0] == wanted
    assert len(api.uids(NAME) & before) == REPLICAS - 1
    check_requests(scene)


def test_a_killed_server_restarts_with_the_settings_in_force(local: Cluster, scene: Scene) -> None:
    api, before = scene.api, scene.api.uids(NAME)
    assert local.is_local
    # With one server less the others are tuned for more load, if they may be: what comes back could then be told from
    # nothing.
    api.patch(NAME, {"batching": {"mode": "Recommend"}})
    api.until_condition(NAME, "Ready", "True")
    scene.healed()
    wanted = scene.in_force()
    with scene.steady():
        victim = api.ready_pods(NAME)[0]
        kill_container(victim)

        def restarted() -> bool:
            same = [p for p in api.ready_pods(NAME) if p["metadata"]["uid"] == victim["metadata"]["uid"]]
            return bool(same) and same[0]["status"]["containerStatuses"][0]["restartCount"] == 1

        api.until("the server to be back", restarted, NAME)
        (now,) = [p for p in api.pods(NAME) if p["metadata"]["uid"] == victim["metadata"]["uid"]]
        assert api.settings(now, NAME) == wanted
        scene.healed()
        assert scene.in_force() == wanted
    api.patch(NAME, {"batching": {"mode": "Auto"}})
    api.until_condition(NAME, "Ready", "True")
    assert api.uids(NAME) == before
    check_requests(scene)


def test_a_lost_kubelet_loses_no_replica(local: Cluster, scene: Scene) -> None:
    """Its pod goes on; that the node is silent is said, and nothing is done about it until Kubernetes does."""
    api, before = scene.api, scene.api.uids(NAME)
    assert {p["spec"]["nodeName"] for p in api.pods(NAME)} >= {EDGE}
    with scene.steady() as steady:
        local.kill_kubelet(EDGE)
        try:
            said = api.until_condition(NAME, "WorkloadReady", "False")
            assert (said["reason"], EDGE in said["message"]) == ("NodeNotReady", True), said
            pause(5)
            assert api.deployment(NAME)["spec"]["replicas"] == REPLICAS
        finally:
            local.start_kubelet(EDGE)
        scene.healed()
    assert api.uids(NAME) == before
    assert (steady.failed, steady.starts) == (0, 1), steady.said


def test_without_prometheus_everything_is_held(scene: Scene) -> None:
    """Though the load goes away and fewer replicas are allowed. When it is back, the loop acts again by itself."""
    api, wanted, before = scene.api, scene.in_force(), scene.api.uids(NAME)
    scale = ("scale", "deployment/prometheus", "-n", prometheus.NAMESPACE)
    with scene.steady() as steady:
        api.cluster.kubectl(*scale, "--replicas=0")
        try:
            said = api.until_condition(NAME, "MetricsAvailable", "False", "PrometheusUnreachable")
            assert prometheus.URL in said["message"]
            assert any(e["reason"] == "PrometheusUnreachable" for e in api.events(NAME))
            fewer = {"minReplicas": 1, "maxReplicas": REPLICAS, "scaleDownStabilizationSeconds": 0}
            api.patch(NAME, {"scaling": fewer, "batching": {"mode": "Auto", "fixed": None}})
            pause(5)
        except BaseException:
            api.cluster.kubectl(*scale, "--replicas=1")
            raise
    try:
        pause(25)
        assert condition(api.service(NAME), "Ready")["status"] == "True"
        assert api.uids(NAME) == before
        assert api.all_settings(NAME) == REPLICAS * [wanted]
    finally:
        api.cluster.kubectl(*scale, "--replicas=1")
    assert (steady.failed, steady.starts) == (0, 1), steady.said
    api.until_condition(NAME, "MetricsAvailable", "True")
    api.until("one replica to go", lambda: len(api.pods(NAME)) == 1, NAME)
