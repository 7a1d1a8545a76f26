"""Status of a ServingPool: what its nodes offer, what is free, and who is placed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline.api import validation
from throughline.api.base import ConditionStatus
from throughline.api.servingpool import ServingPoolSpec, ServingPoolStatus
from throughline.domain.closed_nodes import pool_ready
from throughline.domain.conditions import replaced
from throughline.domain.decision import ConditionUpdate
from throughline.domain.doubtful_nodes import doubtful_nodes
from throughline.domain.nodes import ONE, PODS
from throughline.domain.times import rfc3339
from throughline.reconcile import writes
from throughline.reconcile.status import tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.api.base import Condition
    from throughline.domain.nodes import NodeAllocatable
    from throughline.reconcile.context import Deps

READY = "Ready"
LOOK_AGAIN_SECONDS = 30.0


class PoolReconciler:
    """The work of the queue of ServingPools."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def __call__(self, name: str) -> float | None:
        pool = self._deps.objects.get("ServingPool", None, name)
        if pool is None or pool["metadata"].get("deletionTimestamp"):
            return None
        before = _parse(pool)
        after = await self._status(pool, before)
        await self._write(pool, before, after)
        return LOOK_AGAIN_SECONDS

    async def _status(self, pool: Mapping[str, Any], before: ServingPoolStatus) -> ServingPoolStatus:
        deps, name = self._deps, pool["metadata"]["name"]
        generation = int(pool["metadata"].get("generation") or 0)
        services = len(placed.replicas) if (placed := deps.cluster.placed().get(name)) else 0
        try:
            spec = ServingPoolSpec.model_validate(pool.get("spec") or {})
        except ValidationError:
            said = "; ".join(f"{p.field}: {p.message}" for p in validation.check(_document(pool)))
            update = ConditionUpdate(READY, ConditionStatus.FALSE, "InvalidSpec", said or "the spec is not valid")
            return before.model_copy(
                update={
                    "observed_generation": generation,
                    "conditions": self._conditions(before, update, generation),
                    "services": services,
                }
            )
        nodes, closed = deps.cluster.nodes(name, spec)
        resource = spec.accelerator.resource if spec.accelerator else PODS
        units, free, doubtful = ({}, None, "") if resource is None else await self._units(nodes, resource)
        return ServingPoolStatus(
            observed_generation=generation,
            conditions=self._conditions(before, pool_ready(spec, units, closed, doubtful), generation),
            nodes=len(nodes),
            allocatable=None if resource is None else sum(units.values()),
            free=free,
            services=services,
        )

    async def _units(self, nodes: Sequence[NodeAllocatable], resource: str) -> tuple[dict[str, int], int | None, str]:
        """What each node offers, how many of them all are free (None where that cannot be read, or nodes report less
        than their pods hold), and which nodes these are.
        """
        units = {node.name: node.resources.get(resource, 0) // ONE for node in nodes}
        usage = await self._deps.cluster.usage()
        if usage is None:
            return units, None, ""
        if doubtful := doubtful_nodes(nodes, usage.total, (resource,)):
            return units, None, doubtful
        taken = {node: usage.total[node].get(resource, 0) // ONE for node in units if node in usage.total}
        return units, sum(count - taken.get(node, 0) for node, count in units.items()), ""

    def _conditions(self, before: ServingPoolStatus, update: ConditionUpdate, generation: int) -> list[Condition]:
        return replaced(before.conditions, update, generation, rfc3339(self._deps.clock()))

    async def _write(self, pool: Mapping[str, Any], before: ServingPoolStatus, after: ServingPoolStatus) -> None:
        wire = after.to_wire()
        if (pool.get("status") or {}) == wire:
            return
        if await writes.status(self._deps, "ServingPool", None, pool["metadata"]["name"], wire):
            await tell(self._deps, pool, before.conditions, after.conditions)


def _parse(pool: Mapping[str, Any]) -> ServingPoolStatus:
    try:
        return ServingPoolStatus.model_validate(pool.get("status") or {})
    except ValidationError:  # of another version: written anew
        return ServingPoolStatus()


def _document(pool: Mapping[str, Any]) -> dict[str, Any]:
    return {k: pool[k] for k in ("apiVersion", "kind", "metadata", "spec") if k in pool}
