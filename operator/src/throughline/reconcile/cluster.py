"""Nodes, and what the pods of the whole cluster hold of them: read once for all services.

The pods are listed in pages at most every half minute and reduced to sums at once, so that neither the API server nor
the memory pays for the cluster's size with every decision.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pydantic import ValidationError

from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.closed_nodes import closed_nodes
from throughline.domain.doubtful_nodes import doubtful_nodes
from throughline.domain.manifests import POOL_LABEL, SERVICE_LABEL, label_value
from throughline.domain.nodes import admits, in_pool, node_allocatable, node_terms, pod_requests, selected
from throughline.domain.observed import PoolView
from throughline.domain.placement import capacity_for, replaces, replicas
from throughline.domain.replica import admitted_shape
from throughline.ports import ApiError

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.closed_nodes import ClosedNodes
    from throughline.domain.nodes import NodeAllocatable
    from throughline.ports import KubePort
    from throughline.reconcile.context import Key, ObjectReader

log = structlog.get_logger("cluster")

PODS_SECONDS = 30.0
VIEW_SECONDS = 5.0
RESERVED_SECONDS = 60.0  # a pod that was asked for is scheduled, and listed, by then
RUNNING = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="

Held = dict[str, Counter[str]]  # node → resource → thousandths
Newest = dict[str, tuple[str, dict[str, Any]]]  # value of the pool label → (creation, shape) of the newest pod there
# Of one replica on the pool of that name and spec
Requests = Callable[[str, ServingPoolSpec], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Usage:
    """What pods hold, by node: all of them, and each service's own."""

    total: Held = field(default_factory=dict)
    own: Mapping[tuple[str, str], Held] = field(default_factory=dict)  # (namespace, value of the service label)
    # Of these, what is to stay: (namespace, value of the service label) → value of the pool label
    staying: Mapping[tuple[str, str], Mapping[str, Held]] = field(default_factory=dict)
    # As admitted: (namespace, value of the service label) → value of the pool label → shape of the newest pod
    shapes: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    def of_others(self, namespace: str, label: str) -> dict[str, dict[str, int]]:
        mine = self.own.get((namespace, label), {})
        return {node: dict(held - mine[node]) if node in mine else dict(held) for node, held in self.total.items()}

    def held(self, namespace: str, label: str, pool: str) -> Held:
        """What pods of the service hold on that pool, but for those that terminate. A pod that bears no label of a pool
        is on every one.
        """
        mine = self.staying.get((namespace, label), {})
        found: Held = {}
        for where in {label_value(pool), ""}:
            for node, held in mine.get(where, {}).items():
                found[node] = found.get(node, Counter()) + held
        return found


@dataclass(slots=True)
class Placed:
    """Services on one pool, with the replicas that they want."""

    replicas: dict[Key, int] = field(default_factory=dict)
    total: int = 0


class PoolNodes(NamedTuple):
    """The nodes that take replicas of a pool, and what closes the others that bear its labels."""

    open: list[NodeAllocatable]
    closed: ClosedNodes | None


@dataclass(slots=True)
class Cluster:
    """One for all workers."""

    kube: KubePort
    objects: ObjectReader
    clock: Callable[[], float]
    _usage: Usage | None = None
    _usage_at: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _nodes: dict[str, tuple[float, ServingPoolSpec, PoolNodes]] = field(default_factory=dict)
    _placed: tuple[float, dict[str, Placed]] = (float("-inf"), {})
    _specs: dict[str, tuple[int, ServingPoolSpec | None]] = field(default_factory=dict)
    _reserved: dict[str, dict[Key, tuple[int, float]]] = field(default_factory=dict)

    async def usage(self) -> Usage | None:
        """What pods hold, not older than half a minute; None where it cannot be read."""
        async with self._lock:
            if self.clock() - self._usage_at >= PODS_SECONDS:
                self._usage_at = self.clock()
                try:
                    self._usage = await self._read()
                except ApiError as error:
                    log.warning("pods of the cluster not read, so free capacity is not known", error=str(error))
                    self._usage = None
            return self._usage

    async def _read(self) -> Usage:
        total: Held = {}
        own: dict[tuple[str, str], Held] = {}
        staying: dict[tuple[str, str], dict[str, Held]] = {}
        newest: dict[tuple[str, str], Newest] = {}
        async for page in self.kube.pages("v1", "Pod", field_selector=RUNNING):
            for pod in page.items:
                held = pod_requests(pod)
                if not held.node:
                    continue
                total.setdefault(held.node, Counter()).update(held.requests)
                metadata = pod["metadata"]
                labels = metadata.get("labels") or {}
                if label := labels.get(SERVICE_LABEL):
                    owner, pool = (metadata["namespace"], label), labels.get(POOL_LABEL, "")
                    own.setdefault(owner, {}).setdefault(held.node, Counter()).update(held.requests)
                    _keep_newest(newest.setdefault(owner, {}), pool, pod)
                    if not metadata.get("deletionTimestamp"):
                        here = staying.setdefault(owner, {}).setdefault(pool, {})
                        here.setdefault(held.node, Counter()).update(held.requests)
            await asyncio.sleep(0)
        shapes = {owner: {pool: shape for pool, (_, shape) in pods.items()} for owner, pods in newest.items()}
        return Usage(total, own, staying, shapes)

    def nodes(self, name: str, spec: ServingPoolSpec) -> PoolNodes:
        """Nodes that a replica of the pool can be scheduled on, and why others cannot take one."""
        known = self._nodes.get(name)
        if known is None or known[1] != spec or self.clock() - known[0] >= VIEW_SECONDS:
            nodes = [n for n in self.objects.all("Node") if selected(n, spec)]
            found = PoolNodes([node_allocatable(n) for n in nodes if in_pool(n, spec)], closed_nodes(nodes, spec))
            known = self._nodes[name] = (self.clock(), spec, found)
        return known[2]

    def placed(self) -> Mapping[str, Placed]:
        """Who is on which pool."""
        if self.clock() - self._placed[0] >= VIEW_SECONDS:
            found: dict[str, Placed] = {}
            for service in self.objects.all("InferenceService"):
                namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
                pool = (service.get("status") or {}).get("pool")
                if pool:
                    wanted = ((service.get("status") or {}).get("replicas") or {}).get("desired") or 0
                    there = found.setdefault(pool, Placed())
                    there.replicas[(namespace, name)] = int(wanted)
                    there.total += int(wanted)
            self._placed = (self.clock(), found)
        return self._placed[1]

    def reserve(self, pool: str, key: Key, replicas: int) -> None:
        """Replicas that were just asked for and that no list of pods shows yet."""
        self._reserved.setdefault(pool, {})[key] = (replicas, self.clock() + RESERVED_SECONDS)

    def _reserved_by_others(self, pool: str, key: Key) -> int:
        reserved = self._reserved.get(pool, {})
        for other in [k for k, (_, until) in reserved.items() if until <= self.clock()]:
            del reserved[other]
        return sum(count for other, (count, _) in reserved.items() if other != key)

    def pools(
        self, key: Key, label: str, spec: InferenceServiceSpec, usage: Usage | None, requests: Requests
    ) -> dict[str, PoolView]:
        """The pools that the service lists and that exist, with what each can hold of it. No I/O, no pause.

        `requests`: of one replica on a pool.
        """
        found: dict[str, PoolView] = {}
        terms = node_terms(spec.runtime)
        for reference in spec.placement.pools:
            declared = self.pool_spec(reference.name)
            if declared is None:
                continue
            of_pool, closed = self.nodes(reference.name, declared)
            nodes = [node for node in of_pool if admits(terms, node.labels)]
            view = self._room(key, label, PoolView(reference.name, declared, None, len(nodes)), nodes, usage, requests)
            said = closed.message if closed else ""
            if of_pool and not nodes:
                said = f"spec.runtime.affinity.nodeAffinity of the service admits none of its {len(of_pool)} open nodes"
            found[reference.name] = replace(view, closed=said)
        return found

    def _room(
        self,
        key: Key,
        label: str,
        pool: PoolView,
        nodes: list[NodeAllocatable],
        usage: Usage | None,
        requests: Requests,
    ) -> PoolView:
        """The pool with what it can hold of the service, by these nodes of it."""
        name, declared = pool.name, pool.spec
        held = usage.held(key[0], label, name) if usage is not None else {}
        if declared.capacity is not None:
            there = self.placed().get(name, Placed())
            others = there.total - there.replicas.get(key, 0)
            capacity = capacity_for(declared, nodes, {}, {}, held=held, replicas_of_others=others)
        elif usage is None:
            return pool
        else:
            used, need = usage.of_others(key[0], label), requests(name, declared)
            capacity = capacity_for(declared, nodes, used, need, held=held)
            asked = [resource for resource, amount in need.items() if amount > 0]
            doubtful = doubtful_nodes(nodes, usage.total, asked) if capacity is None else ""
            pool = replace(pool, replaces=replaces(nodes, used, need), doubtful=doubtful)
        if capacity is None:
            return pool
        free = capacity - replicas(held) - self._reserved_by_others(name, key)
        return replace(pool, capacity_replicas=replicas(held) + max(0, free))

    def pool_spec(self, name: str) -> ServingPoolSpec | None:
        """The pool's spec; None when there is none or it is not valid (its own status says why then)."""
        version = self.objects.version("ServingPool", None, name)
        if version is None:
            self._specs.pop(name, None)
            return None
        known = self._specs.get(name)
        if known is None or known[0] != version:
            live = self.objects.get("ServingPool", None, name)
            known = self._specs[name] = (version, None if live is None else parse_pool(live))
        return known[1]


def _keep_newest(known: Newest, pool: str, pod: Mapping[str, Any]) -> None:
    made = pod["metadata"].get("creationTimestamp") or ""
    if pool not in known or made >= known[pool][0]:
        known[pool] = (made, admitted_shape(pod))


def parse_pool(live: Mapping[str, Any]) -> ServingPoolSpec | None:
    """The spec of a pool as stored, None when it is not valid."""
    try:
        return ServingPoolSpec.model_validate(live.get("spec") or {})
    except ValidationError:
        return None
