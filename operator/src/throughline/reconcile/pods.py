"""Pods of the API server as the core looks at them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import CONTAINER, REVISION_LABEL
from throughline.domain.observed import PodView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.reconcile.context import ObjectReader


def pod_view(pod: Mapping[str, Any], now: float, *, silent_node: str | None = None) -> PodView:
    """The pod, without anything that only the server or Prometheus could tell."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    container = container_status(pod) or {}
    waiting = (container.get("state") or {}).get("waiting") or {}
    ready = conditions.get("Ready", {}).get("status") == "True"
    scheduled = conditions.get("PodScheduled", {})
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        ip=status.get("podIP"),
        ready=ready,
        ready_seconds=max(0.0, now - _seconds(conditions["Ready"].get("lastTransitionTime"), now)) if ready else 0.0,
        terminating=bool(metadata.get("deletionTimestamp")),
        template_hash=labels.get("pod-template-hash", ""),
        revision=labels.get(REVISION_LABEL, ""),
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message") or _last_words(container),
        restarts=int(container.get("restartCount") or 0),
        unschedulable=(
            scheduled.get("message") or scheduled.get("reason") or "not scheduled"
            if scheduled.get("status") == "False"
            else None
        ),
        container_id=container.get("containerID"),
        silent_node=silent_node,
    )


def silent_node(pod: Mapping[str, Any], objects: ObjectReader) -> str | None:
    """Name of the pod's node, when that is not ready."""
    name = (pod.get("spec") or {}).get("nodeName")
    node = objects.get("Node", None, name) if name else None
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    return None if ready in {None, "True"} else str(name)


def container_status(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Status of the Triton container."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((c for c in statuses if c.get("name") == CONTAINER), None)


def running(pod: Mapping[str, Any]) -> bool:
    """Whether the Triton container runs now."""
    return "running" in ((container_status(pod) or {}).get("state") or {})


def memory_limited(pod_template: Mapping[str, Any]) -> bool:
    """Whether the Triton container has a memory limit."""
    containers = pod_template.get("containers") or ()
    return any("memory" in ((c.get("resources") or {}).get("limits") or {}) for c in containers)


def _last_words(container: Mapping[str, Any]) -> str | None:
    """Why the container ended the last time, for a crash loop's message."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return None
    said = ended.get("message") or ended.get("reason") or "ended"
    return f"{said.strip()} (exit code {ended.get('exitCode')})"


def _seconds(timestamp: str | None, default: float) -> float:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else default
