"""Pods of the API server as the core looks at them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.domain.manifests import CONTAINER, LOAD_CHECK, MODEL_FILES, POOL_LABEL, REVISION_LABEL, sampling
from throughline.domain.nodes import has_ended
from throughline.domain.observed import EndedPod, PodView
from throughline.domain.workload_conditions import CONFIG_REASONS, CRASH_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.domain.observed import MetricsFrame, PodKey
    from throughline.reconcile.context import ObjectReader, PodLister


class Pods(NamedTuple):
    """The pods of one service. Only `replicas` count; `ended` ones remain until somebody deletes them."""

    replicas: list[dict[str, Any]]
    ended: list[dict[str, Any]]


def pods_of(objects: ObjectReader, namespace: str, service: str) -> Pods:
    """The only way to list a service's pods: an evicted or refused pod stays as Failed and must not count."""
    found = Pods([], [])
    for pod in objects.children(namespace, service, "Pod"):
        (found.ended if has_ended(pod) else found.replicas).append(pod)
    return found


def ended_pods(pods: Pods, now: float) -> tuple[EndedPod, ...]:
    """The ended pods with the kubelet's reason, newest first."""
    found = [_ended_pod(pod, now) for pod in pods.ended]
    return tuple(sorted(found, key=lambda pod: (-pod.started_seconds, pod.name)))


def _ended_pod(pod: Mapping[str, Any], now: float) -> EndedPod:
    status = pod.get("status") or {}
    terminated = ((container_status(pod) or {}).get("state") or {}).get("terminated") or {}
    return EndedPod(
        name=pod["metadata"]["name"],
        reason=status.get("reason") or terminated.get("reason") or status["phase"],
        message=(status.get("message") or terminated.get("message") or "").strip(),
        started_seconds=_seconds(status.get("startTime") or pod["metadata"].get("creationTimestamp"), now),
    )


def pod_view(pod: Mapping[str, Any], now: float, *, silent_node: str | None = None) -> PodView:
    """The pod, without anything that only the server or Prometheus could tell."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    container = container_status(pod) or {}
    waiting = (container.get("state") or {}).get("waiting") or {}
    check = _failing_check(status) or _sampler_not_created(status, container)
    if check is not None:  # before it has ended well, or begun, the server only waits
        waiting, container = (check.get("state") or {}).get("waiting") or {"reason": "Error"}, check
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
        pool=labels.get(POOL_LABEL, ""),
        waiting_reason=waiting.get("reason"),
        waiting_message=_why(waiting, container),
        waiting_container=check["name"] if check is not None else CONTAINER,
        restarts=int(container.get("restartCount") or 0),
        unschedulable=(
            scheduled.get("message") or scheduled.get("reason") or "not scheduled"
            if scheduled.get("status") == "False"
            else None
        ),
        container_id=container.get("containerID") if check is None else None,
        silent_node=silent_node,
        broken_links=_broken_links(status),
    )


def lacking_metrics(objects: PodLister, frame: MetricsFrame, now: float) -> list[PodKey]:
    """Servers that have been ready for longer than a scrape takes, and of which the frame has no metrics."""
    measured = {key[:2] for key in frame.pods}
    lacking = []
    for namespace, name in objects.names("Pod"):
        if (namespace, name) in measured:
            continue
        pod = objects.get("Pod", namespace, name)
        if pod is not None and POOL_LABEL in (pod["metadata"].get("labels") or {}):
            view = pod_view(pod, now)
            if not view.terminating and view.ready_seconds > frame.window_seconds:
                lacking.append((namespace, name))
    return lacking


def _failing_check(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The status of the container that finds or compares the model's files, where it has failed."""
    return next((f for name in (MODEL_FILES, LOAD_CHECK) if (f := _failed(init_container_status(status, name)))), None)


def _failed(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    state, last = found.get("state") or {}, found.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    return found if ended and ended.get("exitCode") != 0 else None


def _broken_links(status: Mapping[str, Any]) -> str:
    """What the container that links the model's files has named; empty: nothing, or it has not ended well."""
    found = init_container_status(status, MODEL_FILES) or {}
    ended = (found.get("state") or {}).get("terminated") or {}
    said = str(ended.get("message") or "").strip() if ended.get("exitCode") == 0 else ""
    return "; ".join(said.splitlines())


def _sampler_not_created(status: Mapping[str, Any], server: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The status of the sidecar that samples, where the server does not run because it cannot be created."""
    if "running" in (server.get("state") or {}):
        return None
    found = init_container_status(status, sampling.CONTAINER)
    waiting = ((found or {}).get("state") or {}).get("waiting") or {}
    return found if waiting.get("reason") in CONFIG_REASONS else None


def silent_node(pod: Mapping[str, Any], objects: ObjectReader) -> str | None:
    """Name of the pod's node, when that is not ready."""
    name = (pod.get("spec") or {}).get("nodeName")
    node = objects.get("Node", None, name) if name else None
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    return None if ready in {None, "True"} else str(name)


def init_container_status(status: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Of that init container, in the pod's status."""
    return next((c for c in status.get("initContainerStatuses") or () if c.get("name") == name), None)


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


def _why(waiting: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
    """Why the container does not run. In a crash loop what it said last: the kubelet says only that it waits."""
    said, last = waiting.get("message"), _last_words(container)
    return last or said if waiting.get("reason") in CRASH_REASONS else said or last


def _last_words(container: Mapping[str, Any]) -> str | None:
    """Why the container ended the last time, for a crash loop's message."""
    ended = (
        (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated") or {}
    )
    if not ended:
        return None
    said = ended.get("message") or ended.get("reason") or "ended"
    return f"{said.strip()} (exit code {ended.get('exitCode')})"


def _seconds(timestamp: str | None, default: float) -> float:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else default
