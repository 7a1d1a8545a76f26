import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import throughline
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.base import Condition, ConditionStatus
from throughline.api.status import InferenceServiceStatus
from throughline.domain import condition_reasons, workload_conditions
from throughline.domain.conditions import (
    ACCEPTED,
    MODEL_READY,
    PROBE_FAILED,
    READY,
    RECONCILING,
    STALLED,
    TYPES,
    WORKLOAD_READY,
    Nature,
    describe,
    describe_pool,
    merge,
    resolve,
    summary,
)
from throughline.domain.decision import ConditionUpdate
from throughline.domain.observed import PodView, PoolView, ServiceView
from throughline.domain.placement import Refusal

from tests.domain.manifest_cases import pool, spec

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
CURRENT, OLD = "cccccccccc", "oooooooooo"
REFUSAL = Refusal("PoolNotFound", "spec.placement.pools", "spec.placement.pools: no ServingPool named x")


def pod(name: str = "p", **changes: Any) -> PodView:
    values = {
        "uid": name,
        "ip": "10.0.0.1",
        "ready": True,
        "ready_seconds": 60.0,
        "terminating": False,
        "template_hash": "t1",
        "revision": CURRENT,
    }
    return PodView(name=name, **{**values, **changes})


def starting(name: str = "p", **changes: Any) -> PodView:
    return pod(name, **{"ready": False, "ready_seconds": 0.0, **changes})


def view(*pods: PodView, replicas: int | None = 1, image: str | None = None) -> ServiceView:
    return ServiceView(
        now_seconds=0.0,
        name="resnet",
        namespace="vision",
        generation=2,
        spec=spec(runtime={"image": image} if image else {}),
        status=InferenceServiceStatus(),
        pool=PoolView("gpu", pool(), 4, 2),
        pods=pods,
        replicas=replicas,
        settings=None,
        model_hash=CURRENT,
        metrics_unavailable=None,
        metrics_window_seconds=30.0,
    )


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
        ("7 times", "back-off 5m"),
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
        ("spec.replicas 0",),
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


def update(type_: str, status: ConditionStatus, reason: str = "R", message: str = "m") -> ConditionUpdate:
    return ConditionUpdate(type_, status, reason, message)


def test_all_conditions_are_there_from_the_first_visit():
    conditions = merge([], [], 1, NOW)
    assert [c.type for c in conditions] == list(TYPES)
    assert {(c.status, c.reason) for c in conditions} == {(UNKNOWN, "NotYetObserved")}


def test_what_did_not_change_is_the_same_object():
    first = merge([], [update("SLOMet", TRUE)], 1, NOW)
    second = merge(first, [update("SLOMet", TRUE)], 1, LATER)
    assert all(a is b for a, b in zip(first, second, strict=True))


def condition(conditions: list[Condition], type_: str) -> Condition:
    return next(c for c in conditions if c.type == type_)


def test_only_a_new_status_has_a_new_time():
    first = merge([], [update("SLOMet", FALSE, "A")], 1, NOW)
    reason = condition(merge(first, [update("SLOMet", FALSE, "B", "n")], 2, LATER), "SLOMet")
    assert (reason.last_transition_time, reason.reason, reason.message, reason.observed_generation) == (
        NOW,
        "B",
        "n",
        2,
    )
    status = condition(merge(first, [update("SLOMet", TRUE)], 1, LATER), "SLOMet")
    assert status.last_transition_time == LATER


def test_silence_is_no_change_and_a_strange_type_is_kept():
    strange = Condition(type="FromALaterVersion", status=TRUE, reason="R", last_transition_time=NOW)
    first = merge([strange], [update("SLOMet", TRUE)], 1, NOW)
    assert merge(first, [], 5, LATER) == first
    assert first[-1] is strange


@given(data=st.data())
def test_merging_is_stable(data: st.DataObject):
    updates = st.builds(
        update,
        st.sampled_from(TYPES),
        st.sampled_from(ConditionStatus),
        st.sampled_from(["A", "B"]),
        st.text(max_size=5),
    )
    some = data.draw(st.lists(updates, unique_by=lambda u: u.type))
    once = merge([], some, 3, NOW)
    again = merge(data.draw(st.permutations(once)), data.draw(st.permutations(some)), 3, LATER)
    assert again == once
    assert [c.type for c in again] == list(TYPES)


def served(**others: ConditionStatus) -> list[Condition]:
    statuses = {ACCEPTED: TRUE, WORKLOAD_READY: TRUE, MODEL_READY: TRUE, **others}
    return merge([], [update(t, s) for t, s in statuses.items()], 1, NOW)


@pytest.mark.parametrize("type_", ["MetricsAvailable", "SLOMet", "ScalingActive", "BatchTuned", "LoadBalanced"])
@pytest.mark.parametrize("status", [FALSE, UNKNOWN])
def test_ready_is_about_serving_alone(type_: str, status: ConditionStatus):
    ready, reconciling, stalled = summary(served(**{type_: status}))
    assert (ready.status, reconciling.status, stalled.status) == (TRUE, FALSE, FALSE)


@pytest.mark.parametrize("type_", [ACCEPTED, WORKLOAD_READY, MODEL_READY])
def test_ready_needs_all_of_serving(type_: str):
    assert summary(served(**{type_: FALSE}))[0].status == FALSE
    ready, reconciling, _ = summary(served(**{type_: UNKNOWN}))
    assert (ready.status, reconciling.status) == (UNKNOWN, TRUE)


def test_the_summary_of_nothing_is_in_progress():
    assert [(u.type, u.status) for u in summary([])] == [(READY, UNKNOWN), (RECONCILING, TRUE), (STALLED, FALSE)]


def test_resolve_merges_the_summary_too_and_comes_to_rest():
    updates = workload_conditions.workload_conditions(view(pod()), None)
    first = resolve([], updates, 2, NOW)
    assert condition(first, READY).status == TRUE
    assert [c.type for c in first] == list(TYPES)
    second = resolve(first, updates, 2, LATER)
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_the_table_has_each_line_once_and_every_fault_a_way_out():
    assert {line.type for line in describe()} == set(TYPES)
    lines = describe()
    assert len({(line.type, line.reason) for line in lines}) == len(lines)
    assert [TYPES.index(line.type) for line in lines] == sorted(TYPES.index(line.type) for line in lines)
    for line in (*lines, *describe_pool()):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", line.reason)
        assert line.meaning.endswith(".")
        assert line.action.endswith(".")
        if line.nature in {Nature.USER, Nature.FAULT}:
            assert line.action != "Nothing."


# Every CamelCase word in the modules that speak of conditions is a type or a reason of the table, or is one of these:
# reasons of the kubelet, and words of the domain that only look like a reason.
SOURCE = Path(throughline.__file__).parent
SPEAKERS = ("domain/workload_conditions.py", "domain/placement.py", "domain/control/verdicts.py")
KUBELET = workload_conditions.PULL_REASONS | workload_conditions.CONFIG_REASONS | workload_conditions.CRASH_REASONS
OTHERS = KUBELET | {"Insufficient"}
CAMEL = re.compile(r"[A-Z][a-z]+[A-Za-z]*|SLO[A-Z][a-z]+")


def camel_case_words(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CAMEL.fullmatch(node.value):
            yield node.value


def literals(call: str, position: int) -> Iterator[str]:
    """The constant at `position` of every call of `call`, anywhere in the code."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == call:
                values = [*node.args[position : position + 1], *(k.value for k in node.keywords if k.arg == "reason")]
                yield from (str(v.value) for v in values if isinstance(v, ast.Constant))


def test_every_reason_that_the_code_can_give_is_in_the_table():
    explain = "domain/condition_reasons.py must explain these"
    reasons = {line.reason for line in describe()} | set(TYPES)
    for speaker in SPEAKERS:
        words = set(camel_case_words(SOURCE / speaker))
        assert words, speaker
        assert not words - reasons - OTHERS, f"{speaker}: {explain}"
    of_pools = {line.reason for line in describe_pool()}
    assert not set(literals("ConditionUpdate", 2)) - reasons - of_pools, explain
    for call, type_ in (("Unavailable", "MetricsAvailable"), ("Refusal", ACCEPTED)):
        given_ = set(literals(call, 0))
        assert given_, call
        assert not {r for r in given_ if not condition_reasons.known(type_, r)}, f"{type_}: {explain}"
