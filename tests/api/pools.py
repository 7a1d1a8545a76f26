"""ServingPools that are right, and ways to make each wrong."""

from __future__ import annotations

from typing import Any

from tests.api.changes import REMOVE, Change
from tests.api.pods import BAD_PODS, GOOD_PODS, POD_RULE_BREAKERS

SERVING_POOL: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "ServingPool",
    "metadata": {"name": "gpu"},
    "spec": {"nodeSelector": {"pool": "gpu"}, "costPerHour": "1.01"},
}

GOOD_POOLS: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "cost a number": (("spec/costPerHour", 2),),
    "cost in thousandths": (("spec/costPerHour", "40m"),),
    "tolerates all": (("spec/tolerations", [{"operator": "Exists"}]),),
    "label with a prefix": (("spec/nodeSelector", {"nvidia.com/gpu.product": "NVIDIA-A10", "empty": ""}),),
    "an accelerator by claim": (
        ("spec/accelerator", {"resourceClaimTemplateName": "one-h100"}),
        ("spec/capacity", {"maxReplicas": 8}),
    ),
    **GOOD_PODS,
}
BAD_POOLS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no cost": ((("spec/costPerHour", REMOVE),), "spec.costPerHour", "required"),
    "cost a fraction": ((("spec/costPerHour", 1.5),), "spec.costPerHour", "in quotes"),
    "resource without domain": (
        (("spec/accelerator", {"resource": "gpu"}),),
        "spec.accelerator.resource",
        "nvidia.com",
    ),
    "value of a node's label": ((("spec/nodeSelector", {"a": "b c"}),), "spec.nodeSelector.a", "not valid"),
    "cost in binary": ((("spec/costPerHour", "1Ki"),), "spec.costPerHour", "m, k, M, G or T"),
    "key of a toleration": ((("spec/tolerations", [{"key": "a b"}]),), "spec.tolerations[0].key", "example.com/"),
    "value of a toleration": (
        (("spec/tolerations", [{"key": "a", "value": "b/c"}]),),
        "spec.tolerations[0].value",
        "not valid",
    ),
    "name with an empty part": ((("metadata/name", "a..b"),), "metadata.name", "choose another"),
    **BAD_PODS,
}
POOL_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "every node": ((("spec/nodeSelector", {}),), "spec.nodeSelector", "at least one label"),
    "key of a node's label": ((("spec/nodeSelector", {"a b": "c"}),), "spec.nodeSelector", "example.com/name"),
    "long key of a node's label": ((("spec/nodeSelector", {"a" * 254 + "/b": "c"}),), "spec.nodeSelector", "253"),
    "an accelerator by nothing": (
        (("spec/accelerator", {"countPerReplica": 1}),),
        "spec.accelerator",
        "one of resource",
    ),
    "claims without capacity": (
        (("spec/accelerator", {"resourceClaimTemplateName": "one-h100"}),),
        "spec.capacity",
        "add it, with maxReplicas",
    ),
    "toleration with a value": (
        (("spec/tolerations", [{"operator": "Exists", "key": "a", "value": "b"}]),),
        "spec.tolerations[0].value",
        "remove it",
    ),
    "a resource of Kubernetes itself": (
        (("spec/accelerator", {"resource": "kubernetes.io/gpu"}),),
        "spec.accelerator.resource",
        "must be an extended resource",
    ),
    "a resource of quotas": (
        (("spec/accelerator", {"resource": "requests.nvidia.com/gpu"}),),
        "spec.accelerator.resource",
        "must be an extended resource",
    ),
    "toleration without a key": ((("spec/tolerations", [{"value": "b"}]),), "spec.tolerations[0].key", "add it"),
    **POD_RULE_BREAKERS,
}
