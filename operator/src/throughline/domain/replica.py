"""What one replica asks of a node: as its pods were admitted, else as its template is rendered.

The API server adds to a template what the cluster asks for: defaults of a LimitRange, injected sidecars, overhead of a
runtime class. Live pods show it, so nothing of that is computed here, and no right to read it is needed; before the
first pod is there, the template alone counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.nodes import effective_requests, pod_requests, thousandths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.domain.nodes import Amounts

_KINDS = ("initContainers", "containers")


def admitted_shape(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a live pod's spec that hold resources."""
    spec = pod.get("spec") or {}
    shape: dict[str, Any] = {kind: [_container(c) for c in spec[kind]] for kind in _KINDS if spec.get(kind)}
    return {**shape, "overhead": spec["overhead"]} if spec.get("overhead") else shape


def replica_requests(
    template: Mapping[str, Any], admitted: Mapping[str, Any] | None = None, *, same_pool: bool = True
) -> Amounts:
    """Requests of a replica of this pod template. `admitted`: shape of a live pod of the service, which may be of an
    older template, so the larger of both counts. `same_pool`: whether that pod runs on the pool in question; devices
    of another pool say nothing of this one.
    """
    if admitted is None:
        return dict(pod_requests({"spec": template}).requests)
    merged = {kind: _merged(template.get(kind, ()), admitted.get(kind, ()), same_pool=same_pool) for kind in _KINDS}
    return dict(pod_requests({"spec": {**merged, "overhead": admitted.get("overhead")}}).requests)


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    shape = {"name": container["name"], "resources": {"requests": effective_requests(container)}}
    return {**shape, "restartPolicy": container["restartPolicy"]} if container.get("restartPolicy") else shape


def _merged(
    rendered: Sequence[Mapping[str, Any]], admitted: Sequence[Mapping[str, Any]], *, same_pool: bool
) -> list[Mapping[str, Any]]:
    """The containers in the order in which they were admitted, then those that only the new template has."""
    ours = {container["name"]: container for container in rendered}
    found: list[Mapping[str, Any]] = []
    for live in admitted:
        asked = effective_requests(live)
        if not same_pool:
            asked = {resource: amount for resource, amount in asked.items() if "/" not in resource}
        own = ours.pop(live["name"], {})
        found.append({**live, **own, "resources": {"requests": _larger(asked, effective_requests(own))}})
    return [*found, *ours.values()]


def _larger(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {resource: max((x[resource] for x in (a, b) if resource in x), key=thousandths) for resource in {**a, **b}}
