"""Nodes that report less than their pods hold are named, with what follows."""

from __future__ import annotations

from throughline.api.base import ConditionStatus
from throughline.domain.closed_nodes import pool_ready
from throughline.domain.doubtful_nodes import doubtful_nodes
from throughline.domain.nodes import NodeAllocatable

from tests.domain.manifest_cases import pool

GPU = "nvidia.com/gpu"


def node(name: str, gpus: int, cpu: int = 8) -> NodeAllocatable:
    return NodeAllocatable(name, {GPU: gpus * 1000, "cpu": cpu * 1000})


def test_a_node_that_reports_what_its_pods_hold_or_more_is_in_no_doubt():
    held = {"a": {GPU: 4000, "cpu": 9000}, "elsewhere": {GPU: 9000}}
    assert doubtful_nodes([node("a", 4), node("b", 0)], held, [GPU]) == "", "the CPU is not asked for"


def test_the_nodes_the_resource_and_where_to_look_are_named():
    held = {"a": {GPU: 4000}, "b": {GPU: 1000}, "c": {GPU: 4000}}
    assert doubtful_nodes([node("c", 4), node("b", 0), node("a", 3)], held, [GPU]) == (
        "nodes a, b report less nvidia.com/gpu than the pods there hold, so how many replicas fit is not known: "
        "`kubectl describe node a` shows both; check the device plugin there"
    )
    assert "device plugin" not in doubtful_nodes([node("a", 4, cpu=1)], {"a": {"cpu": 2000}}, ["cpu"])


def test_the_pool_says_so_and_does_not_ask_for_a_device_plugin_that_is_there():
    update = pool_ready(pool(), {"a": 0}, None, "node a reports less")
    assert (update.status, update.reason, update.message) == (
        ConditionStatus.UNKNOWN, "CapacityUnknown", "node a reports less",
    )  # fmt: skip
    assert pool_ready(pool(), {"a": 0}, None).reason == "NoAccelerator"
