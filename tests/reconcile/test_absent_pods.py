"""Pods that have ended are no replicas, and pods that the API server refuses are told of in its own words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from throughline import reconcile
from throughline.api.batching import BatchSettings
from throughline.domain.manifests import config_map_name
from throughline.reconcile.pods import pods_of
from throughline.reconcile.service import ServiceReconciler

from tests.reconcile.fakes import World, pod, service
from tests.reconcile.scene import KEY, revision_of, serve

ENDED = [
    ("Evicted", "The node was low on resource: memory."),
    ("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present; cannot allocate nvidia.com/gpu"),
    ("NodeShutdown", "Pod was terminated in response to imminent node shutdown."),
    ("NodeAffinity", "Predicate NodeAffinity failed"),
]
QUOTA = (
    'pods "m-7d9c-x2x4z" is forbidden: exceeded quota: team, requested: requests.cpu=2, used: requests.cpu=4, '
    "limited: requests.cpu=4"
)


def ended(name: str, revision: str, reason: str = "Evicted", message: str = "", **changes: Any) -> dict[str, Any]:
    """As the kubelet leaves it: Failed, with the labels of its Deployment, until somebody deletes it."""
    status = {"phase": "Failed", "reason": reason, "message": message, "startTime": "2023-11-14T22:00:00Z", **changes}
    found = pod(name, revision, ip="10.0.9.9", ready=False, **status)
    found["status"]["containerStatuses"] = changes.get("containerStatuses", [])
    del found["status"]["podIP"]
    return found


async def served(world: World, *, pods: int = 1, **spec: Any) -> tuple[ServiceReconciler, dict[str, Any]]:
    obj = world.add(service(**spec))
    passing = ServiceReconciler(world.deps)
    await passing(KEY)
    serve(world, obj, pods=pods, settings=BatchSettings(max_batch_size=1))
    await passing(KEY)
    return passing, obj


def deployment_says(world: World, **condition: str) -> None:
    found = world.live("Deployment", "m")
    world.add({**found, "status": {"conditions": [condition]}})


@pytest.mark.parametrize(("reason", "message"), ENDED, ids=[reason for reason, _ in ENDED])
async def test_a_failed_pod_that_stays_is_no_replica_when_the_model_changes(
    world: World, reason: str, message: str
) -> None:
    passing, obj = await served(world)
    old = revision_of(obj)
    world.add(ended("m-gone", old, reason, message))
    changed = world.add(service(generation=2, model={"storage": {"uri": "pvc://models/other"}, "backend": "python"}))
    await passing(KEY)
    serve(world, changed, settings=BatchSettings(max_batch_size=1))
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("True", "Available")
    assert world.conditions()["Ready"] == ("True", "Serving")
    assert ("ConfigMap", "default", config_map_name("m", old)) not in world.kube.objects, "nobody reads it any more"


async def test_a_crashed_pod_that_was_evicted_is_not_crash_looping(world: World) -> None:
    passing, obj = await served(world)
    crashed = [{"name": "triton", "restartCount": 7, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]
    world.add(ended("m-gone", revision_of(obj), containerStatuses=crashed))
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("True", "Available")


async def test_many_ended_pods_are_told_of_once_with_the_command_that_deletes_them(world: World) -> None:
    passing, obj = await served(world)
    for i in range(12):
        world.add(ended(f"m-gone-{i}", revision_of(obj), "Evicted" if i % 2 else "UnexpectedAdmissionError"))
    await passing(KEY)
    said, writes = world.message("WorkloadReady"), len(world.kube.writes)
    assert "10 or more ended pods (Evicted, UnexpectedAdmissionError) remain" in said
    assert (
        "kubectl delete pods -n default -l throughline.io/inferenceservice=m --field-selector=status.phase=Failed"
    ) in said
    world.add(ended("m-gone-12", revision_of(obj)))
    await passing(KEY)
    assert len(world.kube.writes) == writes, "one more of many is no news"


async def test_pods_that_end_one_after_another_are_the_reason_in_the_kubelets_words(world: World) -> None:
    obj = world.add(service())
    passing = ServiceReconciler(world.deps)
    await passing(KEY)
    for i in range(3):
        world.add(ended(f"m-gone-{i}", revision_of(obj), *ENDED[1], startTime="2023-11-14T22:13:00Z"))
    world.kube.seed({"kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": "default"}})
    world.now += 30
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "PodsFailing")
    assert "no healthy devices present" in world.message("WorkloadReady")
    assert "device plugin" in world.message("WorkloadReady")


def test_the_pods_of_a_service_are_listed_in_one_place_which_leaves_out_the_ended(world: World) -> None:
    revision = revision_of(service())
    world.add(pod("m-0", revision, ip="10.0.0.1"))
    world.add(ended("m-1", revision))
    world.add(ended("m-2", revision, phase="Succeeded"))
    found = pods_of(world.store, "default", "m")
    assert [p["metadata"]["name"] for p in found.replicas] == ["m-0"]
    assert [p["metadata"]["name"] for p in found.ended] == ["m-1", "m-2"]
    listing = [
        f.name for f in Path(reconcile.__file__).parent.rglob("*.py") if re.search(r'children\(.*"Pod"', f.read_text())
    ]
    assert listing == ["pods.py"]


@pytest.mark.parametrize("running", [0, 1], ids=["no pod gets in", "some pods run"])
async def test_pods_refused_by_a_quota_are_told_of_in_the_api_servers_words(world: World, running: int) -> None:
    passing, _ = await served(world, pods=running, scaling={"minReplicas": 2})
    world.kube.seed({"kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": "default"}})
    world.now += 30
    deployment_says(world, type="ReplicaFailure", status="True", reason="FailedCreate", message=QUOTA)
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "QuotaExceeded")
    said = world.message("WorkloadReady")
    assert "exceeded quota: team, requested: requests.cpu=2, used: requests.cpu=4, limited: requests.cpu=4" in said
    assert "raise the ResourceQuota" in said
    assert "x2x4z" not in said, "each try has a name of its own"


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("maximum memory usage per Container is 1Gi, but limit is 2Gi", "LimitRange"),
        ('violates PodSecurity "restricted:latest": runAsNonRoot != true', "pod-security.kubernetes.io/enforce"),
        ('admission webhook "validate.kyverno.svc" denied the request: no label team', "the policy"),
    ],
)
async def test_pods_refused_by_a_policy_are_told_of_with_what_to_change(world: World, words: str, fix: str) -> None:
    passing, _ = await served(world, scaling={"minReplicas": 2})
    message = f'pods "m-7d9c-x2x4z" is forbidden: {words}'
    deployment_says(world, type="ReplicaFailure", status="True", reason="FailedCreate", message=message)
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "PodsRefused")
    assert words in world.message("WorkloadReady")
    assert fix in world.message("WorkloadReady")


async def test_a_refusal_of_before_is_no_longer_told_once_all_replicas_run(world: World) -> None:
    passing, _ = await served(world)
    deployment_says(world, type="ReplicaFailure", status="True", reason="FailedCreate", message=QUOTA)
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("True", "Available")


async def test_a_rollout_that_makes_no_progress_names_the_pod_to_describe(world: World) -> None:
    passing, obj = await served(world, scaling={"minReplicas": 2})
    world.add(pod("m-1", revision_of(obj), ip="10.0.0.2", ready=False))
    words = 'ReplicaSet "m-triton-7d9c" has timed out progressing.'
    deployment_says(world, type="Progressing", status="False", reason="ProgressDeadlineExceeded", message=words)
    await passing(KEY)
    assert world.conditions()["WorkloadReady"] == ("False", "ProgressDeadlineExceeded")
    assert words in world.message("WorkloadReady")
    assert "kubectl describe pod m-1 -n default" in world.message("WorkloadReady")
