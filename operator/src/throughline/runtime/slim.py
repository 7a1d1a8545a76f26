"""What is kept of a watched object: the parts that some reconcile reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.scalers import SCALER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DROPPED_METADATA = frozenset({"managedFields", "resourceVersion", "selfLink"})
# Kinds of which it matters who set their replicas
SCALED_KINDS = frozenset({"Deployment"})
DROPPED_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


def slim(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what nobody reads; for kinds without a rule, all but bookkeeping."""
    rule = RULES.get(obj["kind"])
    small = rule(obj) if rule else {k: v for k, v in obj.items() if k not in {"metadata", "apiVersion", "kind"}}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": _metadata(obj), **small}


def _metadata(obj: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in DROPPED_METADATA}
    if obj["kind"] in SCALED_KINDS and (writers := _scale_writers(obj)):
        metadata["managedFields"] = writers
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in DROPPED_ANNOTATIONS}
    return {**metadata, "annotations": annotations} if annotations else metadata


def _scale_writers(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    managers = obj["metadata"].get("managedFields") or ()
    return [
        _pick(m, "manager", "subresource")
        for m in managers
        if m.get("subresource") == "scale" or m.get("manager") == SCALER
    ]


def _pick(source: Mapping[str, Any] | None, *fields: str) -> dict[str, Any]:
    return {field: source[field] for field in fields if source and source.get(field) is not None}


def _pod(obj: Mapping[str, Any]) -> dict[str, Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    containers = [_pick(c, "name", "image", "resources") for c in spec.get("containers") or ()]
    conditions = [
        _pick(c, "type", "status", "reason", "message", "lastTransitionTime") for c in status.get("conditions") or ()
    ]
    statuses = [
        _pick(c, "name", "ready", "restartCount", "state", "lastState", "containerID", "started")
        for c in status.get("containerStatuses") or ()
    ]
    before = [_pick(c, "name", "restartCount", "state", "lastState") for c in status.get("initContainerStatuses") or ()]
    return {
        "spec": {**_pick(spec, "nodeName"), "containers": containers},
        "status": {
            **_pick(status, "phase", "podIP", "reason", "message", "startTime"),
            "conditions": conditions,
            "containerStatuses": statuses,
            **({"initContainerStatuses": before} if before else {}),
        },
    }


def _node(obj: Mapping[str, Any]) -> dict[str, Any]:
    status = obj.get("status") or {}
    # The heartbeat's times change every few minutes; nothing else of a condition matters here.
    ready = [_pick(c, "type", "status") for c in status.get("conditions") or () if c.get("type") == "Ready"]
    return {
        "spec": _pick(obj.get("spec"), "unschedulable", "taints"),
        "status": {**_pick(status, "allocatable"), "conditions": ready},
    }


def _job(obj: Mapping[str, Any]) -> dict[str, Any]:
    ends = [
        _pick(c, "type", "status", "reason", "message", "lastTransitionTime")
        for c in (obj.get("status") or {}).get("conditions") or ()
    ]
    return {"status": {"conditions": ends}}


RULES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"Pod": _pod, "Node": _node, "Job": _job}
