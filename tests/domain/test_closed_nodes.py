"""Nodes that bear a pool's labels and take no replica: which, why, and what to type."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from throughline.api.base import ConditionStatus
from throughline.api.servingpool import Toleration
from throughline.domain.closed_nodes import closed_nodes, pool_ready
from throughline.domain.nodes import in_pool
from throughline.domain.observed import PoolView
from throughline.domain.placement import Refusal, choose_pool

from tests.domain.manifest_cases import pool, spec

LABELS = {"pool": "gpu"}
POOL = pool(nodeSelector=LABELS)
TAINT = {"key": "team", "value": "ml", "effect": "NoSchedule"}


def node(name: str = "gpu-0", *, arch: str = "amd64", ready: str = "True", **node_spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {**LABELS, "kubernetes.io/arch": arch}},
        "spec": node_spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


CLOSED: dict[str, tuple[list[dict[str, Any]], str, tuple[str, ...]]] = {
    "tainted": (
        [node(taints=[TAINT])],
        "NodesTainted",
        ("node gpu-0 has the taint team=ml:NoSchedule", "{key: team, operator: Exists, effect: NoSchedule}",
         "the pool's spec.tolerations"),
    ),
    "many tainted": (
        [node(f"gpu-{i}", taints=[TAINT]) for i in range(5)],
        "NodesTainted",
        ("nodes gpu-0, gpu-1, gpu-2 and 2 more have the taint",),
    ),
    "cordoned": (
        [node(unschedulable=True, taints=[{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}])],
        "NodesCordoned",
        ("node gpu-0 is cordoned", "kubectl uncordon gpu-0"),
    ),
    "not ready": ([node(ready="Unknown")], "NodesNotReady", ("gpu-0 is not ready", "kubectl describe node gpu-0")),
    "under disk pressure": (
        [node(taints=[{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}])],
        "NodesNotReady",
        ("gpu-0 is not ready",),
    ),
    "of another architecture": (
        [node(arch="arm64")],
        "WrongArchitecture",
        ("gpu-0 is arm64", "spec.architecture is amd64"),
    ),
    "each for its own cause": (
        [node("a", taints=[TAINT]), node("b", unschedulable=True), node("c", ready="False")],
        "NodesTainted",
        ("node a has the taint", "node b is cordoned", "node c is not ready"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "reason", "words"), CLOSED.values(), ids=CLOSED.keys())
def test_a_closed_node_is_named_with_its_cause_and_the_fix(
    nodes: list[dict[str, Any]], reason: str, words: tuple[str, ...]
) -> None:
    assert not any(in_pool(n, POOL) for n in nodes)
    closed = closed_nodes(nodes, POOL)
    assert closed is not None
    ready = pool_ready(POOL, {}, closed)
    view = PoolView("gpu", POOL, 0, 0, closed.message)
    refusal = choose_pool(spec(placement={"pools": [{"name": "gpu"}]}), {"gpu": view}, "")
    assert isinstance(refusal, Refusal)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, reason)
    for word in words:
        assert word in ready.message
        assert word in refusal.message
    assert "add nodes" not in refusal.message, "they are there"
    assert "1 replicas" not in refusal.message


def test_the_toleration_that_is_said_opens_the_node() -> None:
    closed = closed_nodes([node(taints=[TAINT])], POOL)
    assert closed is not None
    (line,) = [part for part in closed.message.split("`") if part.startswith("{")]
    tolerating = POOL.model_copy(update={"tolerations": [Toleration.model_validate(yaml.safe_load(line))]})
    assert in_pool(node(taints=[TAINT]), tolerating)
    assert closed_nodes([node(taints=[TAINT])], tolerating) is None


def test_a_node_without_the_labels_is_none_of_the_pools() -> None:
    other = node()
    other["metadata"]["labels"]["pool"] = "other"
    assert closed_nodes([other], POOL) is None
    ready = pool_ready(POOL, {}, None)
    assert (ready.reason, "no node has the labels pool=gpu" in ready.message) == ("NoNodes", True)


def test_a_pool_with_some_open_nodes_is_ready_and_names_the_closed_ones() -> None:
    nodes = [node("a"), node("b", unschedulable=True)]
    ready = pool_ready(POOL, {"a": 4}, closed_nodes(nodes, POOL))
    assert ready.status is ConditionStatus.TRUE
    assert "kubectl uncordon b" in ready.message


def test_a_pool_too_small_for_the_least_names_its_cordoned_node() -> None:
    closed = closed_nodes([node("a"), node("b", unschedulable=True)], POOL)
    assert closed is not None
    wanted = spec(placement={"pools": [{"name": "gpu"}]}, scaling={"minReplicas": 2})
    refusal = choose_pool(wanted, {"gpu": PoolView("gpu", POOL, 1, 1, closed.message)}, "")
    assert isinstance(refusal, Refusal)
    assert "gpu can hold 1, node b is cordoned" in refusal.message


def test_the_message_names_the_affinity_that_leaves_no_node() -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    runtime = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    there = pool(nodeSelector=LABELS, runtime=runtime)
    assert not in_pool(node(), there)
    ready = pool_ready(there, {}, closed_nodes([node(taints=[TAINT])], there))
    assert ready.reason == "NoNodes"
    assert "no node has the labels pool=gpu and meets the node affinity of spec.runtime" in ready.message
    assert "correct spec.nodeSelector or spec.runtime.affinity" in ready.message
