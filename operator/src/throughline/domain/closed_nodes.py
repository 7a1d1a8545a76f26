"""Nodes that bear a pool's labels and take no replica all the same: which, why, and what opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.advisories import undivided_accelerator
from throughline.api.base import ConditionStatus
from throughline.domain.condition_types import READY
from throughline.domain.decision import ConditionUpdate
from throughline.domain.nodes import PODS, node_terms, ready, selected, untolerated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from throughline.api.servingpool import ServingPoolSpec

NAMES_SHOWN = 3
ARCHITECTURE = "kubernetes.io/arch"
# Taints that tell of a node's state and pass with it. Whoever tolerates one runs on a broken or a leaving node.
_STATES = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
)


class ClosedNodes(NamedTuple):
    """Why the nodes take no replica: a reason for the pool's Ready, and the text for it and for a PoolFull."""

    reason: str
    message: str


class _Sorted(NamedTuple):
    """Closed nodes by their first cause."""

    architectures: dict[str, list[str]]
    cordoned: list[str]
    not_ready: list[str]
    tainted: dict[str, tuple[Mapping[str, Any], list[str]]]


def closed_nodes(nodes: Iterable[Mapping[str, Any]], pool: ServingPoolSpec) -> ClosedNodes | None:
    """What closes the nodes that the pool selects; None where each of them takes replicas."""
    found = _Sorted({}, [], [], {})
    for node in nodes:
        if selected(node, pool):
            _sort(found, node, pool)
    parts = [(reason, text) for reason, tell in _CAUSES if (text := tell(found, pool))]
    return ClosedNodes(parts[0][0], "; ".join(text for _, text in parts)) if parts else None


def pool_ready(
    spec: ServingPoolSpec, units: Mapping[str, int], closed: ClosedNodes | None, doubtful: str = ""
) -> ConditionUpdate:
    """The condition Ready of a pool. `units`: what its open nodes offer of its resource, by node. `doubtful`: which of
    them offer less than their pods hold.
    """
    useless = undivided_accelerator(spec)
    if spec.capacity is not None:
        return ConditionUpdate(READY, ConditionStatus.TRUE, "NodesReady", useless or "")
    if not units and closed is not None:
        return ConditionUpdate(
            READY, ConditionStatus.FALSE, closed.reason, f"no node takes a replica: {closed.message}"
        )
    if not units:
        text = f"{no_node(spec)}: label or add nodes, or correct {_selectors(spec)}"
        return ConditionUpdate(READY, ConditionStatus.FALSE, "NoNodes", text)
    if doubtful:
        return ConditionUpdate(READY, ConditionStatus.UNKNOWN, "CapacityUnknown", doubtful)
    if not any(units.values()):
        resource = spec.accelerator.resource if spec.accelerator else PODS
        text = (
            f"no node of the pool offers {resource} ({node_names(list(units))}): install its device plugin (`kubectl "
            f"describe node {min(units)}` shows what a node offers), or correct spec.accelerator.resource"
        )
        return ConditionUpdate(READY, ConditionStatus.FALSE, "NoAccelerator", text)
    remarks = [closed.message if closed is not None else None, useless]
    return ConditionUpdate(READY, ConditionStatus.TRUE, "NodesReady", "; ".join(r for r in remarks if r))


def no_node(pool: ServingPoolSpec) -> str:
    """Says which nodes the pool selects, where there is none."""
    wanted = ", ".join(f"{k}={v}" for k, v in sorted(pool.node_selector.items()))
    meets = " and meets the node affinity of spec.runtime" if node_terms(pool.runtime) else ""
    return f"no node has the labels {wanted}{meets}"


def _selectors(pool: ServingPoolSpec) -> str:
    return "spec.nodeSelector" + (" or spec.runtime.affinity" if node_terms(pool.runtime) else "")


def _sort(found: _Sorted, node: Mapping[str, Any], pool: ServingPoolSpec) -> None:
    name = node["metadata"]["name"]
    architecture = (node["metadata"].get("labels") or {}).get(ARCHITECTURE, "unknown")
    taints = untolerated(node, pool)
    asking = [t for t in taints if not str(t.get("key", "")).startswith(_STATES)]
    if architecture != pool.architecture.value:
        found.architectures.setdefault(architecture, []).append(name)
    elif asking:
        found.tainted.setdefault(_taint(asking[0]), (asking[0], []))[1].append(name)
    elif (node.get("spec") or {}).get("unschedulable"):
        found.cordoned.append(name)
    elif taints or not ready(node):
        found.not_ready.append(name)


def _taint(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


def node_names(names: Sequence[str]) -> str:
    """`node a has`, `nodes a, b, c and 2 more have`: without the verb."""
    shown = sorted(names)[:NAMES_SHOWN]
    more = len(names) - len(shown)
    return f"{'node' if len(names) == 1 else 'nodes'} {', '.join(shown)}" + (f" and {more} more" if more else "")


def _tainted(found: _Sorted, _: ServingPoolSpec) -> str:
    texts = []
    for shown, (taint, names) in sorted(found.tainted.items()):
        toleration = f"{{key: {taint.get('key')}, operator: Exists, effect: {taint.get('effect')}}}"
        verb = "has" if len(names) == 1 else "have"
        texts.append(f"{node_names(names)} {verb} the taint {shown}: add `{toleration}` to the pool's spec.tolerations")
    return "; ".join(texts)


def _cordoned(found: _Sorted, _: ServingPoolSpec) -> str:
    names = found.cordoned
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    command = f"kubectl uncordon {' '.join(sorted(names)[:NAMES_SHOWN])}"
    return f"{node_names(names)} {verb} cordoned: `{command}` opens {'it' if len(names) == 1 else 'them'}"


def _not_ready(found: _Sorted, _: ServingPoolSpec) -> str:
    names = found.not_ready
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f"{node_names(names)} {verb} not ready: `kubectl describe node {min(names)}` says why"


def _architecture(found: _Sorted, pool: ServingPoolSpec) -> str:
    texts = [
        f"{node_names(names)} {'is' if len(names) == 1 else 'are'} {architecture}, and the pool's spec.architecture is "
        f"{pool.architecture.value}"
        for architecture, names in sorted(found.architectures.items())
    ]
    return "; ".join(texts)


# In the order in which a person can do something about them.
_CAUSES: tuple[tuple[str, Callable[[_Sorted, ServingPoolSpec], str]], ...] = (
    ("NodesTainted", _tainted),
    ("NodesCordoned", _cordoned),
    ("NodesNotReady", _not_ready),
    ("WrongArchitecture", _architecture),
)
