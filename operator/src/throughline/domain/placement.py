"""Which pool a service runs on, and how many of its replicas a pool can hold."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from throughline.api import quantities
from throughline.api.inferenceservice import PlacementStrategy
from throughline.domain.closed_nodes import no_node
from throughline.domain.nodes import ONE, PODS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.nodes import NodeAllocatable
    from throughline.domain.observed import PoolView

FIELD = "spec.placement.pools"


@dataclass(frozen=True, slots=True)
class PoolChoice:
    """The pool, and why this one."""

    pool: PoolView
    why: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec cannot be carried out: a CamelCase reason, the field, and what to change."""

    reason: str
    field: str
    message: str


def choose_pool(
    spec: InferenceServiceSpec, pools: Mapping[str, PoolView], current: str, others: Iterable[str] = ()
) -> PoolChoice | Refusal:
    """The pool that the service is on, while that is listed and exists; else the first listed one with room, or with
    strategy Cheapest the one with room whose replica costs least.

    Staying put even when a preferred pool has room again is on purpose: a move reloads the model on other hardware,
    and what was learned of it does not hold there. Whether one pays is for `control.act.move`, which then moves the
    service first. `others`: names of pools that are not listed, for the message.
    """
    listed = [reference.name for reference in spec.placement.pools]
    if current in listed and current in pools:
        return PoolChoice(pools[current], "the service is there already")
    existing = [pools[name] for name in listed if name in pools]
    if not existing:
        return _not_found(listed, {*pools, *others})
    needed = spec.scaling.min_replicas
    first = "first listed"
    if spec.placement.strategy is PlacementStrategy.CHEAPEST:
        first = "cheapest listed"  # by the replica, as nothing is known yet of its speed there
        existing.sort(key=lambda pool: quantities.parse(pool.spec.cost_per_hour))
    for pool in existing:
        if pool.capacity_replicas is None:
            return PoolChoice(pool, f"the {first} pool that exists; how many replicas it can hold is not known")
        if pool.capacity_replicas >= needed:
            return PoolChoice(pool, f"the {first} pool that can hold {needed} replicas")
    return _full(existing, needed)


def _not_found(listed: Sequence[str], pools: Collection[str]) -> Refusal:
    there = f"existing pools: {', '.join(sorted(pools)[:8])}" if pools else "the cluster has no ServingPool yet"
    missing = ", ".join(listed)
    return Refusal(
        "PoolNotFound", FIELD, f"{FIELD}: no ServingPool named {missing}; create it or name another ({there})"
    )


def _full(existing: Sequence[PoolView], needed: int) -> Refusal:
    rooms = "; ".join(_room(pool) for pool in existing)
    wanted = "1 replica" if needed == 1 else f"{needed} replicas"
    advice = "open its nodes as said, or list another pool"
    if any(pool.nodes for pool in existing):
        lower = "spec.runtime.resources" if needed == 1 else "spec.scaling.minReplicas or spec.runtime.resources"
        advice = f"add nodes, list another pool, or lower {lower}"
    return Refusal(
        "PoolFull",
        FIELD,
        f"{FIELD}: no listed pool can hold the {wanted} of spec.scaling.minReplicas ({rooms}); {advice}",
    )


def _room(pool: PoolView) -> str:
    if pool.spec.capacity is None and pool.nodes == 0:
        return f"pool {pool.name}: {pool.closed or no_node(pool.spec)}"
    return f"{pool.name} can hold {pool.capacity_replicas}" + (f", {pool.closed}" if pool.closed else "")


def capacity_for(
    pool: ServingPoolSpec,
    nodes: Sequence[NodeAllocatable] | None,
    used_by_others: Mapping[str, Mapping[str, int]],
    requests: Mapping[str, int],
    *,
    held: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    replicas_of_others: int = 0,
) -> int | None:
    """How many replicas of this service the pool can hold in all: those that it holds, and those that fit beside them.

    A replica keeps its place whatever its node reports and whether or not it takes further pods; so the nodes decide
    about growth only. That is counted node by node, for a replica does not fit into the sum of what two nodes have
    left. A node that reports less than its pods hold does not tell what is free on it: the capacity is not known then.

    `nodes` are those of the pool that take replicas (`nodes.in_pool`), None where they could not be read;
    `used_by_others` is what all pods hold but those in `held`, by node; `held` what this service's pods of this pool
    hold that are to stay, by node, be it open or closed; `requests` what one replica asks for
    (`replica.replica_requests`). A declared capacity holds for all services together and replaces the count:
    `replicas_of_others` of it are taken.
    """
    if pool.capacity is not None:
        return max(replicas(held), pool.capacity.max_replicas - replicas_of_others)
    if nodes is None:
        return None
    need = {resource: amount for resource, amount in requests.items() if amount > 0}
    free = [_fits(node, used_by_others.get(node.name, {}), held.get(node.name, {}), need) for node in nodes]
    return None if any(fits < 0 for fits in free) else replicas(held) + sum(free)


def replaces(
    nodes: Iterable[NodeAllocatable], used_by_others: Mapping[str, Mapping[str, int]], requests: Mapping[str, int]
) -> bool:
    """Whether a replica fits in place of those that the service has on these nodes. It does not where they hold theirs
    on closed nodes, or where a replica asks for more than before.
    """
    need = {resource: amount for resource, amount in requests.items() if amount > 0}
    return any(_fits(node, used_by_others.get(node.name, {}), {}, need) > 0 for node in nodes)


def replicas(held: Mapping[str, Mapping[str, int]]) -> int:
    """The number of pods that hold this, by node."""
    return sum(amounts[PODS] for amounts in held.values()) // ONE


def _fits(node: NodeAllocatable, others: Mapping[str, int], held: Mapping[str, int], need: Mapping[str, int]) -> int:
    """Below 0 where the node reports less than is held of it."""
    offered = node.resources
    return min((offered.get(r, 0) - others.get(r, 0) - held.get(r, 0)) // amount for r, amount in need.items())
