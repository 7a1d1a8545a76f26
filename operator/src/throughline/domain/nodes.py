"""Nodes and pods as far as placement needs them: what a node offers, and what a pod holds of it.

All amounts are whole thousandths of a unit, so that adding them up for thousands of pods is exact and cheap.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from throughline.api.quantities import parse
from throughline.api.scheduling import NodeOperator
from throughline.api.servingpool import TaintEffect, Toleration, TolerationOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from throughline.api.pods import PodSettings
    from throughline.api.scheduling import NodeRequirement
    from throughline.api.servingpool import ServingPoolSpec

PODS = "pods"
ONE = 1000
Amounts = dict[str, int]
Terms = list[list["NodeRequirement"]]  # a node meets all requirements of one term


@dataclass(frozen=True, slots=True)
class NodeAllocatable:
    """What one node offers to pods."""

    name: str
    resources: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodRequests:
    """What one pod holds, and of which node; `node` is empty until it is scheduled."""

    node: str
    requests: Mapping[str, int]


@lru_cache(maxsize=4096)  # a cluster has many pods and few different quantities
def thousandths(quantity: str | float) -> int:
    """A quantity in whole thousandths, rounded up as the API server rounds requests."""
    return math.ceil(parse(quantity) * 1000)


def node_allocatable(node: Mapping[str, Any]) -> NodeAllocatable:
    """From a core/v1 Node."""
    allocatable, metadata = node.get("status", {}).get("allocatable") or {}, node["metadata"]
    resources = {k: thousandths(v) for k, v in allocatable.items()}
    return NodeAllocatable(metadata["name"], resources, metadata.get("labels") or {})


def pod_requests(pod: Mapping[str, Any]) -> PodRequests:
    """From a core/v1 Pod, as the scheduler counts: the containers' sum or the largest init container, and overhead.

    Init containers that restart always (sidecars) run beside the others and add up. A pod that has ended holds
    nothing. Source: kubernetes/kubernetes component-helpers resource.PodRequests.
    """
    spec = pod.get("spec", {})
    node = spec.get("nodeName", "")
    if has_ended(pod):
        return PodRequests(node, {})
    running: Counter[str] = Counter()
    for container in spec.get("containers", ()):
        running.update(_requests(container))
    sidecars: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.get("initContainers", ()):
        if container.get("restartPolicy") == "Always":
            sidecars.update(_requests(container))
            peak |= sidecars
        else:
            peak |= sidecars + Counter(_requests(container))
    total = (running + sidecars) | peak
    total.update({k: thousandths(v) for k, v in (spec.get("overhead") or {}).items()})
    total[PODS] = ONE
    return PodRequests(node, dict(total))


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's containers never run again."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def effective_requests(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container's requests as quantities; a limit without a request is one, as in the API."""
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def _requests(container: Mapping[str, Any]) -> Amounts:
    return {k: thousandths(v) for k, v in effective_requests(container).items()}


def usage(pods: Iterable[PodRequests]) -> dict[str, Amounts]:
    """The sums by node. A pod without a node holds nothing yet: whether it gets a place is the scheduler's to say."""
    by_node: dict[str, Counter[str]] = {}
    for pod in pods:
        if pod.node:
            by_node.setdefault(pod.node, Counter()).update(pod.requests)
    return {node: dict(amounts) for node, amounts in by_node.items()}


def in_pool(node: Mapping[str, Any], pool: ServingPoolSpec) -> bool:
    """Whether a replica of the pool may be scheduled on the node now: selected, ready, open and tolerated."""
    return (
        selected(node, pool)
        and labelled(node, {"kubernetes.io/arch": pool.architecture.value})
        and not node.get("spec", {}).get("unschedulable")
        and ready(node)
        and not untolerated(node, pool)
    )


def selected(node: Mapping[str, Any], pool: ServingPoolSpec) -> bool:
    """Whether the node is of the pool, by its labels."""
    labels = node.get("metadata", {}).get("labels") or {}
    return labelled(node, pool.node_selector) and admits(node_terms(pool.runtime), labels)


def labelled(node: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether the node bears all these labels."""
    labels = node.get("metadata", {}).get("labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def ready(node: Mapping[str, Any]) -> bool:
    """Whether the node's kubelet reports that it is ready."""
    conditions = node.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def untolerated(node: Mapping[str, Any], pool: ServingPoolSpec) -> list[Mapping[str, Any]]:
    """The taints that keep a replica of the pool away from the node."""
    taints = node.get("spec", {}).get("taints") or ()
    hard = (t for t in taints if t.get("effect") in {"NoSchedule", "NoExecute"})
    return [t for t in hard if not any(_tolerates(toleration, t) for toleration in tolerations(pool))]


def tolerations(pool: ServingPoolSpec) -> list[Toleration]:
    """Of each pod placed there: the pool's own, and one of the taint that is named after the accelerator.

    Clouds put that on nodes with accelerators, to keep off pods that do not ask for one. These do. The admission plugin
    ExtendedResourceToleration does the same, where it is enabled; capacity and pods must not depend on that.
    """
    resource = pool.accelerator.resource if pool.accelerator else None
    if resource is None:
        return pool.tolerations
    added = Toleration(key=resource, operator=TolerationOperator.EXISTS, effect=TaintEffect.NO_SCHEDULE)
    covered = any(
        t.operator is added.operator and t.key in {None, resource} and t.effect in {None, added.effect}
        for t in pool.tolerations
    )
    return pool.tolerations if covered else [*pool.tolerations, added]


def node_terms(*settings: PodSettings) -> Terms:
    """The node affinity that pods require, where all of these settings hold; empty: any node."""
    terms: Terms = []
    for one in settings:
        affinity = one.affinity.node_affinity if one.affinity else None
        required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
        if required is not None:
            own = [term.match_expressions for term in required.node_selector_terms]
            terms = [[*before, *after] for before in terms for after in own] if terms else own
    return terms


def admits(terms: Terms, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels meets one of the terms, as the scheduler decides it."""
    return not terms or any(all(_meets(requirement, labels) for requirement in term) for term in terms)


def _meets(requirement: NodeRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case NodeOperator.IN:
            return value in requirement.values
        case NodeOperator.NOT_IN:
            return value not in requirement.values
        case NodeOperator.EXISTS:
            return value is not None
        case NodeOperator.DOES_NOT_EXIST:
            return value is None
        case NodeOperator.GT | NodeOperator.LT:
            if value is None or re.fullmatch(r"-?[0-9]{1,18}", value) is None:
                return False
            bound = int(requirement.values[0])
            return int(value) > bound if requirement.operator is NodeOperator.GT else int(value) < bound


def _tolerates(toleration: Toleration, taint: Mapping[str, Any]) -> bool:
    if toleration.effect is not None and toleration.effect.value != taint.get("effect"):
        return False
    if toleration.key is None:
        return toleration.operator.value == "Exists"
    if toleration.key != taint.get("key"):
        return False
    return toleration.operator.value == "Exists" or (toleration.value or "") == (taint.get("value") or "")
