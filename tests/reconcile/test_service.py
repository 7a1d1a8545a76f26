"""One service against the world in memory: what is created, what is left alone, what is said."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from throughline.api.inferenceservice import BatchSettings
from throughline.domain.control.service_time import STATISTICS_PODS
from throughline.domain.manifests import config_map_name, model_hash, served_name
from throughline.domain.observed import MetricsFrame, Unavailable
from throughline.ports import ApiError
from throughline.reconcile import service as service_module
from throughline.reconcile.context import ServiceState
from throughline.reconcile.gather import parse_spec
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import SERVICE, World, metrics, node, pod, pool, service

KEY = ("default", "m")
OWNED = {"ServiceAccount", "ConfigMap", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment", "Secret"}


def revision_of(obj: dict[str, Any]) -> str:
    spec = parse_spec(ServiceState(uid="x"), obj)
    assert spec is not None
    return model_hash(spec, served_name(spec, obj["metadata"]["name"]))


def config_of(world: World, obj: dict[str, Any]) -> str:
    found = world.live("ConfigMap", config_map_name(obj["metadata"]["name"], revision_of(obj)))
    return "".join(found["data"].values())


def serve(world: World, obj: dict[str, Any], *, pods: int = 1, settings: BatchSettings) -> None:
    """Pods that run and are ready, as the Deployment's would be."""
    for i in range(pods):
        ip = f"10.0.0.{i + 1}"
        world.triton.loaded[ip] = settings
        world.add(pod(f"m-{i}", revision_of(obj), ip=ip))
    world.sync()


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


async def test_the_service_is_gone(world: World) -> None:
    world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.remove("InferenceService", "default", "m")
    before = len(world.kube.writes)
    assert await reconcile(KEY) is None
    assert reconcile._states == {}
    assert world.kube.writes[before:] == []


# --- settings


def fixed(size: int, delay: int = 0, instances: int = 1) -> dict[str, Any]:
    values = {"maxBatchSize": size, "maxQueueDelayMicroseconds": delay, "instances": instances}
    return {"mode": "Fixed", "fixed": values}


async def running(world: World, batching: dict[str, Any], pods: int = 2) -> tuple[ServiceReconciler, dict[str, Any]]:
    """A service whose pods serve `batching`, settled."""
    obj = world.add(service(batching=batching, scaling={"minReplicas": pods}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    values = batching["fixed"]
    settings = BatchSettings(
        max_batch_size=values["maxBatchSize"],
        max_queue_delay_microseconds=values["maxQueueDelayMicroseconds"],
        instances=values["instances"],
    )
    serve(world, obj, pods=pods, settings=settings)
    await reconcile(KEY)
    await reconcile(KEY)
    return reconcile, world.live("InferenceService", "m")


def retune(world: World, batching: dict[str, Any]) -> dict[str, Any]:
    live = world.live("InferenceService", "m")
    changed = {**live, "spec": {**live["spec"], "batching": batching}}
    changed["metadata"] = {**live["metadata"], "generation": live["metadata"]["generation"] + 1}
    return world.add(changed)


async def test_new_settings_reach_every_pod_and_the_config_map(world: World) -> None:
    reconcile, obj = await running(world, fixed(4, 100))
    retune(world, fixed(16, 2000, 2))
    await reconcile(KEY)
    wanted = BatchSettings(max_batch_size=16, max_queue_delay_microseconds=2000, instances=2)
    assert world.triton.loaded == {"10.0.0.1": wanted, "10.0.0.2": wanted}
    assert "max_batch_size: 16" in config_of(world, obj)
    assert [c for c in world.triton.calls if c[0] == "settings"][-1] == ("settings", "10.0.0.2")
    await reconcile(KEY)
    await reconcile(KEY)
    assert world.live("InferenceService", "m")["status"]["batch"]["settings"]["maxBatchSize"] == 16
    loads = len(world.triton.loads)
    world.now += 300
    await reconcile(KEY)
    assert len(world.triton.loads) == loads


async def test_settings_that_triton_refuses_never_reach_the_config_map(world: World) -> None:
    reconcile, obj = await running(world, fixed(4))
    world.triton.refuse = lambda _ip, config: "out of memory" if config["max_batch_size"] == 64 else None
    retune(world, fixed(64))
    for _ in range(4):
        world.now += 5
        await reconcile(KEY)
    assert "max_batch_size: 4" in config_of(world, obj)
    assert {s.max_batch_size for s in world.triton.loaded.values()} == {4}
    assert world.conditions()["ModelReady"] == ("False", "ConfigurationRefused")
    assert "out of memory" in world.message("ModelReady")
    tried = [c for c in world.triton.calls if c[0] == "load"]
    assert len(tried) == 1, "a refusal is not tried again at once"


async def test_a_pod_that_restarted_with_old_settings_is_loaded_again(world: World) -> None:
    reconcile, _ = await running(world, fixed(8))
    world.triton.loaded["10.0.0.2"] = BatchSettings(max_batch_size=1)  # somebody else's load
    world.now += 61
    await reconcile(KEY)
    assert world.triton.loaded["10.0.0.2"].max_batch_size == 8


async def test_a_pod_that_cannot_be_asked_is_left_alone(world: World) -> None:
    reconcile, _ = await running(world, fixed(8))
    world.triton.down = {"10.0.0.2"}
    world.now += 61
    loads = len(world.triton.loads)
    await reconcile(KEY)
    assert len(world.triton.loads) == loads
    known = {uid: server.settings for uid, server in reconcile._states[KEY].servers.items()}
    assert known["uid-Pod-m-0"] == BatchSettings(max_batch_size=8)
    assert known["uid-Pod-m-1"] is None, "an old answer is no answer"


async def test_unbatched_settings_with_a_delay_are_not_loaded_for_ever(world: World) -> None:
    """Triton reports no queue delay where there is no batcher."""
    reconcile, _ = await running(world, fixed(1, 500))
    world.triton.loaded = {ip: BatchSettings(max_batch_size=1) for ip in world.triton.loaded}
    world.now += 61
    await reconcile(KEY)
    assert world.triton.loads == []
    assert world.conditions()["BatchTuned"][0] != "False"


async def test_a_failed_probe_is_said(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.triton.probe_error = "unexpected shape for input x"
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ProbeFailed")
    assert "unexpected shape" in world.message("ModelReady")


async def test_a_model_that_does_not_load_is_said_in_tritons_words(world: World) -> None:
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    world.triton.index_error = "Internal: file is missing: model.py"
    world.add(pod("m-0", revision_of(obj), ip="10.0.0.1", ready=False))
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ModelLoadFailed")
    assert "model.py" in world.message("ModelReady")


async def test_a_server_that_gives_up_on_its_model_is_noticed_soon(world: World) -> None:
    """It says nothing until it has, and no event of the pod tells."""
    obj = world.add(service())
    reconcile = ServiceReconciler(world.deps)
    assert await reconcile(KEY) == 60, "nothing runs, so there is nothing to look at"
    world.add(pod("m-0", revision_of(obj), ip="10.0.0.1", ready=False))
    world.triton.down = {"10.0.0.1"}
    delay = await reconcile(KEY)
    assert delay is not None
    assert delay <= 5
    world.triton.down, world.triton.index_error = set(), "no such file"
    world.now += 10
    await reconcile(KEY)
    assert world.conditions()["ModelReady"] == ("False", "ModelLoadFailed")


async def test_statistics_only_under_traffic_and_of_so_many_pods_at_most(world: World) -> None:
    pods = STATISTICS_PODS + 2
    obj = world.add(service(scaling={"minReplicas": 4}))
    reconcile = ServiceReconciler(world.deps)
    await reconcile(KEY)
    serve(world, obj, pods=pods, settings=BatchSettings(max_batch_size=1))
    await reconcile(KEY)
    assert [c for c in world.triton.calls if c[0] == "statistics"] == []
    busy = {("default", f"m-{i}", "m"): metrics() for i in range(pods)}
    world.metrics = MetricsFrame(world.now, 60, pods=busy)
    await reconcile(KEY)
    assert len([c for c in world.triton.calls if c[0] == "statistics"]) == STATISTICS_PODS
    assert len([c for c in world.triton.calls if c[0] == "queue"]) == STATISTICS_PODS
    world.triton.calls.clear()
    world.metrics = MetricsFrame(world.now, 60, pods={("default", "m-0", "m"): metrics()})
    await reconcile(KEY)
    assert len([c for c in world.triton.calls if c[0] == "queue"]) == STATISTICS_PODS, "new pods beside a busy one, too"


# --- crashes


class Killed(BaseException):
    """The process dies here."""


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(min_value=1, max_value=14), after=st.booleans())
async def test_a_crash_at_any_step_converges(step: int, *, after: bool) -> None:
    """New settings, killed before or after any call that changes something; a fresh process makes it good."""
    world = World()
    await running(world, fixed(4, 100))
    obj = retune(world, fixed(16, 2000, 2))
    count = 0

    def counted(call: Any) -> Any:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step and not after:
                raise Killed
            result = await call(*args, **kwargs)
            if count == step and after:
                raise Killed
            return result

        return wrapped

    kube, triton = world.kube, world.triton
    apply, load = kube.apply, triton.load
    kube.apply, triton.load = counted(apply), counted(load)  # type: ignore[method-assign]
    with contextlib.suppress(Killed):
        await ServiceReconciler(world.deps)(KEY)
    kube.apply, triton.load = apply, load  # type: ignore[method-assign]
    world.store.__init__()  # type: ignore[misc] - a new process lists anew
    world.sync()
    reconcile = ServiceReconciler(world.deps)
    for _ in range(4):
        world.now += 15
        await reconcile(KEY)
    wanted = BatchSettings(max_batch_size=16, max_queue_delay_microseconds=2000, instances=2)
    assert set(world.triton.loaded.values()) == {wanted}
    assert "max_batch_size: 16" in config_of(world, obj)
    before = len(world.kube.writes)
    await reconcile(KEY)
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
