"""One service against the world in memory: what is created, what is left alone, what is said."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime

import pytest
from throughline.api.batching import BatchSettings
from throughline.domain.manifests import config_map_name
from throughline.domain.observed import MetricsFrame, Unavailable
from throughline.ports import ApiError
from throughline.reconcile import service as service_module
from throughline.reconcile.context import ServiceState
from throughline.reconcile.gather import gather, parse_spec
from throughline.reconcile.pods import lacking_metrics
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import SERVICE, World, metrics, node, pod, pool, service
from tests.reconcile.scene import KEY, revision_of, serve

OWNED = {"ServiceAccount", "ConfigMap", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment", "Secret"}


async def test_creates_everything_once_and_owned(world: World) -> None:
    world.add(service())
    delay = await ServiceReconciler(world.deps)(KEY)
    assert delay is not None
    assert {kind for verb, kind, _ in world.kube.writes if kind in OWNED} == OWNED
    for (kind, _, _), obj in world.kube.objects.items():
        if kind in OWNED:
            assert obj["metadata"]["ownerReferences"][0]["name"] == "m"
    types = world.conditions()
    assert types["Accepted"] == ("True", "Valid")
    assert types["Ready"][0] == "False"
    assert {"WorkloadReady", "ModelReady", "MetricsAvailable", "SLOMet", "ScalingActive", "BatchTuned"} <= types.keys()


async def test_second_pass_writes_nothing(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    await reconcile(KEY)
    before, told = len(world.kube.writes), len(world.kube.events)
    for _ in range(5):
        world.now += 15
        await reconcile(KEY)
    assert world.kube.writes[before:] == []
    assert len(world.kube.events) == told


async def test_a_restart_writes_nothing(world: World) -> None:
    obj = world.add(service())
    await ServiceReconciler(world.deps)(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    reconcile = ServiceReconciler(world.deps)
    for _ in range(3):
        await reconcile(KEY)
    before = len(world.kube.writes)
    await ServiceReconciler(world.deps)(KEY)
    assert world.kube.writes[before:] == []


async def test_no_object_is_read_per_pass_at_rest(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    before = len(world.kube.reads)
    await reconcile(KEY)
    assert world.kube.reads[before:] == []


async def test_the_key_is_made_once_and_survives_deletion_of_the_secret(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    first = world.live("Secret", "m-control")["data"]["key"]
    assert len(base64.b64decode(first)) >= 32
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await ServiceReconciler(world.deps)(KEY)
    assert world.live("Secret", "m-control")["data"]["key"] == first
    await reconcile(KEY)
    del world.kube.objects[("Secret", "default", "m-control")]
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "m-control" not found'}}
    statuses = [{"name": "triton", "ready": False, "restartCount": 0, "state": waiting}]
    world.add(pod("m-9", revision_of(obj), ip="10.0.0.9", ready=False, containerStatuses=statuses))
    await reconcile(KEY)
    assert world.live("Secret", "m-control")["data"]["key"] == first


async def test_drift_is_healed(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    changed = world.live("Service", "m")
    changed["spec"]["selector"] = {SERVICE: "other"}
    world.add(changed)
    await reconcile(KEY)
    assert world.live("Service", "m")["spec"]["selector"] == {SERVICE: "m"}


async def test_a_deleted_child_comes_back(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.remove("PodDisruptionBudget", "default", "m")
    await reconcile(KEY)
    assert world.live("PodDisruptionBudget", "m")


@pytest.mark.parametrize(
    ("kind", "version", "name"),
    [
        ("Deployment", "apps/v1", "m"),
        ("Service", "v1", "m"),
        ("ServiceAccount", "v1", "m"),
        ("Secret", "v1", "m-control"),
    ],
)
async def test_what_belongs_to_others_is_not_taken(world: World, kind: str, version: str, name: str) -> None:
    foreign = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "mine": True}
    world.kube.seed(foreign)  # without our label, so no watch shows it
    world.add(service())
    await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["Accepted"] == ("False", "NameConflict")
    assert f"{kind} default/{name}" in world.message("Accepted")
    assert world.live(kind, name).get("metadata", {}).get("ownerReferences") is None
    assert [w for w in world.kube.writes if w[1] in OWNED - {"Secret"}] == []


async def test_invalid_spec_is_said_and_leaves_what_runs(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    broken = {**world.live("InferenceService", "m")}
    broken["spec"] = {**broken["spec"], "slo": {"latencyP99Milliseconds": 0}}
    broken["metadata"] = {**broken["metadata"], "generation": 2}
    world.add(broken)
    before = len(world.kube.writes)
    assert await reconcile(KEY) is None
    assert world.kube.writes[before:] == [("apply", "InferenceService/status", "m")]
    assert world.conditions()["Accepted"] == ("False", "InvalidSpec")
    assert "spec.slo.latencyP99Milliseconds" in world.message("Accepted")
    assert [e["reason"] for e in world.kube.events].count("InvalidSpec") == 1
    await reconcile(KEY)
    assert len(world.kube.writes) == before + 1


async def test_a_deleted_pool_leaves_what_runs(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    world.remove("ServingPool", "", "gpu")
    before = len(world.kube.writes)
    await reconcile(KEY)
    await reconcile(KEY)
    assert world.conditions()["Accepted"] == ("False", "PoolNotFound")
    assert {kind for _, kind, _ in world.kube.writes[before:]} == {"InferenceService/status"}
    world.add(pool("gpu"))
    await reconcile(KEY)
    assert world.conditions()["Accepted"] == ("True", "Valid")


async def test_missing_storage_is_named(world: World) -> None:
    world.add(service())
    await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "VolumeNotReady")
    assert "PersistentVolumeClaim models" in world.message("WorkloadReady")


async def test_a_config_map_without_the_models_file_is_named(world: World) -> None:
    """The python backend would wait for it for ever, and say nothing."""
    data = {"metadata": {"name": "files", "namespace": "default"}, "data": {"readme": "x"}}
    world.kube.seed({"apiVersion": "v1", "kind": "ConfigMap", **data})
    model = {"storage": {"uri": "configmap://files"}, "backend": "python"}
    world.add(service(model=model))
    await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "VolumeNotReady")
    assert "ConfigMap files has no key model.py" in world.message("WorkloadReady")


async def test_another_storage_is_looked_for_at_once(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    claim = {"metadata": {"name": "others", "namespace": "default"}}
    world.kube.seed({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim})
    moved = service(model={"storage": {"uri": "pvc://others/m"}, "backend": "onnxruntime"})
    moved["metadata"]["generation"] = 2
    world.add(moved)
    await reconcile(KEY)
    assert "PersistentVolumeClaim" not in world.message("WorkloadReady")


async def test_a_node_that_falls_silent_is_named(world: World) -> None:
    claim = {"metadata": {"name": "models", "namespace": "default"}}
    world.kube.seed({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim})
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    lost = pod("m-0", revision_of(obj), ip="10.0.0.1", ready=False)
    world.add(lost)
    silent = node("n1")
    silent["status"]["conditions"][0]["status"] = "Unknown"
    world.add(silent)
    await reconcile(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "NodeNotReady")
    assert "node n1 of pod m-0" in world.message("WorkloadReady")


async def test_replicas_are_scaled_by_their_own_field_manager(world: World) -> None:
    world.add(service(scaling={"minReplicas": 3}))
    await ServiceReconciler(world.deps)(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3
    ref = ("Deployment", "default", "m")
    assert "replicas" not in world.kube.applied[(ref, "throughline", "")]["spec"]
    assert world.kube.applied[(ref, "throughline-scaler", "")]["spec"] == {"replicas": 3}


async def test_never_more_replicas_than_the_pool_holds(world: World) -> None:
    world.add(service(scaling={"minReplicas": 6, "maxReplicas": 8}))
    await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["Accepted"] == ("False", "PoolFull")
    assert ("Deployment", "default", "m") not in world.kube.objects


async def test_the_services_node_affinity_bounds_what_the_pool_holds(world: World) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
    runtime = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    world.add(service(runtime=runtime))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    assert world.conditions()["Accepted"] == ("False", "PoolFull")
    assert "spec.runtime.affinity.nodeAffinity of the service admits none of its" in world.message("Accepted")
    there = node("n1")
    there["metadata"]["labels"]["zone"] = "a"
    world.add(there)
    world.now += 60
    await reconcile(KEY)
    assert world.conditions()["Accepted"][0] == "True"


async def test_two_services_do_not_count_the_same_room(world: World) -> None:
    world.add(service("m", scaling={"minReplicas": 3}))
    world.add(service("other", scaling={"minReplicas": 3}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    await reconcile(("default", "other"))
    assert world.conditions("m")["Accepted"][0] == "True"
    assert world.conditions("other")["Accepted"] == ("False", "PoolFull")


async def test_a_terminal_error_of_the_api_server_becomes_a_condition(world: World) -> None:
    world.kube.fail = lambda _verb, kind, _name: (
        ApiError(403, "Forbidden", "quota exceeded") if kind == "Deployment" else None
    )
    world.add(service())
    with pytest.raises(ApiError):
        await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["Accepted"][0] == "False"
    assert "quota exceeded" in world.message("Accepted")


async def test_without_prometheus_nothing_is_taken_for_zero(world: World) -> None:
    obj = world.add(service(scaling={"minReplicas": 1}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    deployment = world.live("Deployment", "m")
    deployment["spec"]["replicas"] = 3
    world.add(deployment)
    world.metrics = Unavailable("PrometheusUnreachable", "no answer: check --prometheus-url")
    for _ in range(60):
        world.now += 15
        await reconcile(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3
    assert world.conditions()["MetricsAvailable"] == ("False", "PrometheusUnreachable")


async def test_an_answer_that_lacks_a_part_is_not_acted_on(world: World) -> None:
    obj = world.add(service(scaling={"minReplicas": 1}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    deployment = world.live("Deployment", "m")
    deployment["spec"]["replicas"] = 3
    world.add(deployment)
    for _ in range(60):
        world.now += 15
        world.metrics = MetricsFrame(world.now, 60, warnings=("store eu-1: no answer",))
        await reconcile(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3
    assert world.conditions()["MetricsAvailable"] == ("False", "PartialAnswer")
    assert world.conditions()["SLOMet"] == ("Unknown", "MetricsUnavailable")
    assert "store eu-1: no answer" in world.message("MetricsAvailable")


async def test_a_server_that_is_too_old_is_named(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    world.triton.server_version = "2.40.0"
    world.now += 15
    await reconcile(KEY)
    assert world.conditions()["MetricsAvailable"] == ("False", "TritonTooOld")


def test_pods_whose_metrics_are_overdue(world: World) -> None:
    labels = {"throughline.io/pool": "gpu"}
    for name, more in {"due": {}, "measured": {}, "foreign": {"pool": None}, "starting": {"ready": False}}.items():
        made = pod(name, "r", ip="10.0.0.1", ready=more.get("ready", True))
        made["metadata"]["labels"] |= {} if "pool" in more else labels
        world.add(made)
    frame = MetricsFrame(world.now, 60, pods={("default", "measured", "m"): metrics()})
    assert lacking_metrics(world.store, frame, world.now) == [("default", "due")]
    just_ready = datetime.fromisoformat("2023-11-14T20:00:30+00:00").timestamp()
    assert lacking_metrics(world.store, frame, just_ready) == []


async def test_the_service_is_gone(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.remove("InferenceService", "default", "m")
    before = len(world.kube.writes)
    assert await reconcile(KEY) is None
    assert reconcile._states == {}
    assert world.kube.writes[before:] == []


# --- revisions


async def test_config_maps_of_old_revisions_go_when_nothing_is_of_them(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    old = config_map_name("m", revision_of(obj))
    live = world.live("InferenceService", "m")
    model = {**live["spec"]["model"], "version": 2}
    new = world.add(
        {**live, "spec": {**live["spec"], "model": model}, "metadata": {**live["metadata"], "generation": 2}}
    )
    await reconcile(KEY)
    assert ("ConfigMap", "default", old) in world.kube.objects, "a pod still mounts it"
    world.remove("Pod", "default", "m-0")
    serve(world, new, settings=BatchSettings(max_batch_size=1))
    template = {"metadata": {"labels": {"throughline.io/revision": revision_of(obj)}}}
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "m-old", "namespace": "default", "labels": {SERVICE: "m"}},
        "spec": {"replicas": 0, "template": template},
    }
    world.kube.seed(replica_set)
    await reconcile(KEY)
    assert ("ConfigMap", "default", old) in world.kube.objects, "a ReplicaSet could be rolled back to"
    del world.kube.objects[("ReplicaSet", "default", "m-old")]
    world.add(world.live("Deployment", "m"))
    await reconcile(KEY)
    assert ("ConfigMap", "default", old) not in world.kube.objects
    assert ("ConfigMap", "default", config_map_name("m", revision_of(new))) in world.kube.objects


async def test_the_strategy_stays_while_there_is_nothing_to_roll_out(world: World) -> None:
    world.add(service(scaling={"minReplicas": 2}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    assert world.live("Deployment", "m")["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 1
    world.add(node("n1", gpus=2))
    world.now += 60
    before = len(world.kube.writes)
    await reconcile(KEY)
    assert [w for w in world.kube.writes[before:] if w[1] == "Deployment"] == []
    live = world.live("InferenceService", "m")
    runtime = {"image": "triton:other"}
    world.add({**live, "spec": {**live["spec"], "runtime": runtime}, "metadata": {**live["metadata"], "generation": 2}})
    await reconcile(KEY)
    rolling = world.live("Deployment", "m")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}


async def test_a_replica_that_fits_nowhere_takes_no_running_one_down(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    live = world.live("InferenceService", "m")
    runtime = {"resources": {"requests": {"memory": "10Ti"}}}
    world.add({**live, "spec": {**live["spec"], "runtime": runtime}, "metadata": {**live["metadata"], "generation": 2}})
    await reconcile(KEY)
    deployment = world.live("Deployment", "m")["spec"]
    assert "10Ti" in str(deployment["template"])
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


async def test_an_unknown_pool_is_told_which_ones_there_are(world: World) -> None:
    world.add(service(placement={"pools": [{"name": "nowhere"}]}))
    await ServiceReconciler(world.deps)(KEY)
    assert world.conditions()["Accepted"] == ("False", "PoolNotFound")
    assert "existing pools: gpu" in world.message("Accepted")


def test_module_has_no_client_of_its_own() -> None:
    assert not {"kopf", "kubernetes", "tritonclient"} & set(vars(service_module))
    assert replace  # used by the fakes' callers


async def test_capacity_is_counted_by_what_live_pods_were_admitted_with(world: World) -> None:
    """A LimitRange, a policy or a mesh adds requests that the template does not have."""
    obj = world.add(service(scaling={"minReplicas": 1}))
    world.add(pool("gpu", accelerator=None))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    served = pod("m-0", revision_of(obj), ip="10.0.0.1")
    server = {"name": "triton", "resources": {"requests": {"cpu": "1500m"}}}
    served["spec"]["containers"] = [server, {"name": "mesh", "resources": {"requests": {"cpu": "500m"}}}]
    world.add(served)
    world.now += 60
    usage = await world.deps.cluster.usage()
    assert usage is not None
    state = ServiceState(uid="x")
    spec = parse_spec(state, obj)
    assert spec is not None
    seen = await gather(world.deps, state, obj, spec)
    assert seen.view.pool is not None
    assert seen.view.pool.capacity_replicas == 4, "two of eight cores each"
