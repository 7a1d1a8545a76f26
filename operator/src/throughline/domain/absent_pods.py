"""Pods of a service that ended before they served: why, and how to delete what remains of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.manifests.names import SERVICE_LABEL, label_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.observed import EndedPod, ServiceView

# So many pods that ended within this time are a fault that repeats, not one eviction.
REPEATED = 3
RECENT_SECONDS = 600.0
# From so many ended pods on, the message says how to delete them; it counts in these steps, so that it rarely changes.
COUNT_STEPS = (5, 10, 20, 50, 100, 200, 500, 1000)
REASONS_SHOWN = 3

_ENDED_FIXES = {
    "Evicted": "raise spec.runtime.resources.requests to what a replica uses, or free the node",
    "UnexpectedAdmissionError": "check the device plugin on the pod's node",
    "NodeAffinity": "the node's labels changed: correct them or the pool's spec.nodeSelector",
}


def ending(view: ServiceView) -> str | None:
    """The message where pods end one after another before they serve; None where they do not."""
    recent = [pod for pod in view.ended_pods if view.now_seconds - pod.started_seconds <= RECENT_SECONDS]
    if len(recent) < REPEATED:
        return None
    # The reason of most, told by the first name that has it: a message that changes with each pod is written each time.
    reasons = [pod.reason for pod in recent]
    reason = max(sorted(set(reasons)), key=reasons.count)
    words = next(pod.message for pod in recent if pod.reason == reason)
    fix = _ENDED_FIXES.get(reason)
    return f"pods end before they serve, with {reason}" + (f": {words}" if words else "") + (f"; {fix}" if fix else "")


def leftovers(view: ServiceView) -> str:
    """How many ended pods remain and how to delete them, as the end of a message; empty where there are few."""
    step = _step(view.ended_pods)
    if step is None:
        return ""
    reasons = sorted({pod.reason for pod in view.ended_pods})
    shown = ", ".join(reasons[:REASONS_SHOWN]) + (", …" if len(reasons) > REASONS_SHOWN else "")
    return (
        f"; {step} or more ended pods ({shown}) remain, which is harmless: delete them with `kubectl delete pods "
        f"-n {view.namespace} -l {SERVICE_LABEL}={label_value(view.name)} --field-selector=status.phase=Failed`"
    )


def _step(ended: Sequence[EndedPod]) -> int | None:
    return max((step for step in COUNT_STEPS if step <= len(ended)), default=None)
