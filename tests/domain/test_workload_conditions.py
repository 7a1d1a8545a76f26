"""What is said of the pods of a service, situation by situation."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.base import ConditionStatus
from throughline.domain import condition_reasons, workload_conditions
from throughline.domain.conditions import (
    MODEL_READY,
    PROBE_FAILED,
    READY,
    RECONCILING,
    STALLED,
    WORKLOAD_READY,
    headline,
    merge,
    resolve,
    summary,
)
from throughline.domain.decision import ConditionUpdate
from throughline.domain.observed import ServiceView
from throughline.domain.placement import Refusal

from tests.domain.pods import CURRENT, OLD, pod, starting, view

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
REFUSAL = Refusal("PoolNotFound", "spec.placement.pools", "spec.placement.pools: no ServingPool named x")


def verdicts(
    seen: ServiceView, refusal: Refusal | None = None, missing: str | None = None
) -> dict[str, ConditionUpdate]:
    updates = workload_conditions.workload_conditions(seen, refusal, storage_missing=missing)
    summarised = summary(merge([], updates, 1, NOW))
    return {u.type: u for u in (*updates, *summarised)}


# What is seen → (WorkloadReady, ModelReady, Ready, is it up to the user?, words in the message of Ready)
SITUATIONS: dict[str, tuple[dict[str, ConditionUpdate], str, str, str, bool, tuple[str, ...]]] = {
    "all is well": (verdicts(view(pod())), "Available", "Ready", "Serving", False, ("1 pod",)),
    "refused, nothing there": (
        verdicts(view(replicas=None), REFUSAL),
        "NotAccepted",
        "NoPods",
        "PoolNotFound",
        True,
        ("spec.placement.pools",),
    ),
    "refused, the old goes on": (
        verdicts(view(pod()), REFUSAL),
        "Available",
        "Ready",
        "PoolNotFound",
        True,
        ("no ServingPool named x",),
    ),
    "first moment": (
        verdicts(view(replicas=None)),
        "RolloutInProgress",
        "NoPods",
        "RolloutInProgress",
        False,
        ("created",),
    ),
    "the model loads": (
        verdicts(view(starting())),
        "MinimumReplicasUnavailable",
        "Loading",
        "MinimumReplicasUnavailable",
        False,
        ("0 of 1",),
    ),
    "no claim": (
        verdicts(view(starting(waiting_reason="ContainerCreating")), missing="claim models does not exist"),
        "VolumeNotReady",
        "Loading",
        "VolumeNotReady",
        True,
        ("pvc://models/resnet", "claim models does not exist"),
    ),
    "a link out of the model's folder": (
        verdicts(view(starting(broken_links="1/model.onnx is a link to /data/m.onnx, which leads out"))),
        "VolumeNotReady",
        "Loading",
        "VolumeNotReady",
        True,
        ("pvc://models/resnet", "1/model.onnx is a link to /data/m.onnx"),
    ),
    "a link that the model does not need": (
        verdicts(view(pod(broken_links="1/old.onnx is a link to /data/m.onnx, which leads out"))),
        "Available",
        "Ready",
        "Serving",
        False,
        (),
    ),
    "the claim went, pods run": (
        verdicts(view(pod()), missing="claim models does not exist"),
        "Available",
        "Ready",
        "Serving",
        False,
        (),
    ),
    "image": (
        verdicts(view(starting(waiting_reason="ImagePullBackOff", waiting_message="not found"), image="nvcr.io/x:1")),
        "ImagePullFailed",
        "ServerNotRunning",
        "ImagePullFailed",
        True,
        ("nvcr.io/x:1", "not found", "nothing serves"),
    ),
    "missing secret": (
        verdicts(
            view(starting(waiting_reason="CreateContainerConfigError", waiting_message='secret "tokens" not found'))
        ),
        "ContainerConfigError",
        "ServerNotRunning",
        "ContainerConfigError",
        True,
        ('secret "tokens" not found',),
    ),
    "crash loop": (
        verdicts(view(starting(waiting_reason="CrashLoopBackOff", restarts=7, waiting_message="back-off 5m"))),
        "CrashLooping",
        "ServerNotRunning",
        "CrashLooping",
        False,
        ("7 times", "back-off 5m", "`kubectl logs p -n vision -c triton --previous`"),
    ),
    "between two crashes": (
        verdicts(view(pod(restarts=3, ready_seconds=30.0))),
        "CrashLooping",
        "Loading",
        "CrashLooping",
        False,
        ("3 times",),
    ),
    "a first restart": (
        verdicts(view(pod(restarts=1, ready_seconds=5.0))),
        "RecentlyRestarted",
        "Loading",
        "RecentlyRestarted",
        False,
        ("p",),
    ),
    "a restart long ago": (
        verdicts(view(pod(restarts=9, ready_seconds=300.0))),
        "Available",
        "Ready",
        "Serving",
        False,
        (),
    ),
    "full": (
        verdicts(view(pod("a"), starting("b", unschedulable="0/3 nodes: 3 Insufficient nvidia.com/gpu."), replicas=2)),
        "Unschedulable",
        "Ready",
        "Unschedulable",
        False,
        ("pool gpu is full", "Insufficient nvidia.com/gpu", "serves on"),
    ),
    "no node": (
        verdicts(view(starting(unschedulable="0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector."))),
        "Unschedulable",
        "ServerNotRunning",
        "Unschedulable",
        False,
        ("no node of pool gpu takes the pod",),
    ),
    "too few": (
        verdicts(view(pod("a"), starting("b"), replicas=3)),
        "MinimumReplicasUnavailable",
        "Ready",
        "MinimumReplicasUnavailable",
        False,
        ("1 of 3",),
    ),
    "by hand to zero": (
        verdicts(view(replicas=0)),
        "ScaledToZero",
        "NoPods",
        "ScaledToZero",
        True,
        (
            "spec.replicas 0",
            "in mode Auto the operator scales it up again; where it does not, Accepted or ScalingActive says why",
        ),
    ),
    "to zero in mode Off": (
        verdicts(view(replicas=0, scaling={"mode": "Off", "replicas": 0})),
        "ScaledToZero",
        "NoPods",
        "ScaledToZero",
        True,
        ("`kubectl scale tis/resnet -n vision --replicas=1`", "spec.scaling.mode to Auto"),
    ),
    "model rollout": (
        verdicts(view(pod("a", revision=OLD), starting("b"))),
        "RolloutInProgress",
        "Loading",
        "RolloutInProgress",
        False,
        (CURRENT,),
    ),
    "template rollout": (
        verdicts(view(pod("a"), pod("b", template_hash="t2"), replicas=2)),
        "RolloutInProgress",
        "Ready",
        "RolloutInProgress",
        False,
        (),
    ),
    "a pod that leaves is not counted": (
        verdicts(view(pod("a", revision=OLD, terminating=True), pod("b"))),
        "Available",
        "Ready",
        "Serving",
        False,
        (),
    ),
    "refused model": (
        verdicts(view(starting(load_error="Invalid argument: unable to load 'm'"))),
        "MinimumReplicasUnavailable",
        "ModelLoadFailed",
        "ModelLoadFailed",
        True,
        ("unable to load 'm'", "nothing serves"),
    ),
    "refused new model, old serves": (
        verdicts(view(pod("a", revision=OLD), starting("b", load_error="bad magic"))),
        "RolloutInProgress",
        "ModelLoadFailed",
        "ModelLoadFailed",
        True,
        ("bad magic", "the previous revision still serves on 1 pod"),
    ),
    "refused settings": (
        verdicts(view(pod(load_error="max_batch_size 9 too large"))),
        "Available",
        "ConfigurationRefused",
        "ConfigurationRefused",
        False,
        ("old settings", "too large"),
    ),
    "an error of the old revision is history": (
        verdicts(view(pod("a", revision=OLD, load_error="x"), pod("b"), replicas=2)),
        "RolloutInProgress",
        "Ready",
        "RolloutInProgress",
        False,
        (),
    ),
    "probe": (
        verdicts(view(pod(load_error=f"{PROBE_FAILED}unexpected shape"))),
        "Available",
        "ProbeFailed",
        "ProbeFailed",
        False,
        ("unexpected shape",),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_said_of_a_situation(situation: str):
    found, workload, model, ready, users, words = SITUATIONS[situation]
    assert (found[WORKLOAD_READY].reason, found[MODEL_READY].reason) == (workload, model)
    assert found[READY].reason == ready
    assert found[READY].status == (TRUE if ready == "Serving" else FALSE)
    assert found[STALLED].status == (TRUE if users else FALSE)
    # kstatus: exactly one of Current, InProgress and Failed
    assert found[RECONCILING].status == (TRUE if ready != "Serving" and not users else FALSE)
    for word in words:
        assert word in found[READY].message


def test_every_situation_has_reasons_of_the_table():
    for situation, (found, *_) in SITUATIONS.items():
        for update in found.values():
            assert condition_reasons.known(update.type, update.reason), (situation, update)


@given(restarts=st.integers(1, 50), ready_seconds=st.floats(0, 19))
def test_a_crash_looping_server_is_never_ready(restarts: int, ready_seconds: float):
    found = verdicts(view(pod(restarts=restarts, ready_seconds=ready_seconds)))
    assert found[READY].status != TRUE


def test_one_healthy_pod_does_not_hide_one_that_crashes():
    crashing = starting("b", waiting_reason="CrashLoopBackOff", restarts=4)
    found = verdicts(view(pod("a"), crashing, replicas=2))
    assert found[READY].reason == "CrashLooping"
    assert "1 pod of this revision serves on" in found[READY].message


def test_a_long_message_of_triton_is_cut():
    found = verdicts(view(starting(load_error="x" * 9000)))
    assert len(found[MODEL_READY].message) <= 2048
    merge([], list(found.values()), 1, NOW)  # and the API accepts it


def ready_of(seen: ServiceView) -> tuple[str, str]:
    """Ready's status, and the reason on the printer line."""
    updates = workload_conditions.workload_conditions(seen, None)
    found = resolve([], updates, 1, NOW, served=workload_conditions.served(seen))
    shown = headline(found)
    assert shown is not None
    return next(c.status for c in found if c.type == "Ready"), shown.reason


def test_a_service_stays_ready_while_more_replicas_start() -> None:
    assert ready_of(view(pod("a"), starting("b"), starting("c"), replicas=3)) == ("True", "Serving")
    full = starting("b", unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    assert ready_of(view(pod("a"), full, replicas=2)) == ("True", "Unschedulable")


def test_a_service_is_not_ready_below_its_minimum_or_in_a_rollout() -> None:
    below = view(pod("a"), starting("b"), replicas=2)
    spec = below.spec.model_copy(update={"scaling": below.spec.scaling.model_copy(update={"min_replicas": 2})})
    assert ready_of(dataclasses.replace(below, spec=spec)) == ("False", "MinimumReplicasUnavailable")
    assert ready_of(view(starting("a"), replicas=1))[0] == "False"
    assert ready_of(view(pod("a", revision=OLD), starting("b"), replicas=1))[0] == "False"
    assert ready_of(view(pod("a"), starting("b", template_hash="t2"), replicas=2))[0] == "False"
