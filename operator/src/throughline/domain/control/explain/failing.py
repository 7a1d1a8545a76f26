"""What to do about pods that fail requests, or answer none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.control.observe.failures import failed_share
from throughline.domain.formatting import portion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.observed import ServiceView

# So many pods are named, at most.
NAMED = 3


def _others(names: Sequence[str]) -> str:
    """All but the first of some pods in words, at most so many that `NAMED` are named with it; empty for one."""
    return ", ".join(names[1:NAMED]) + (" and others" if len(names) > NAMED else "")


def without_answer(view: ServiceView, names: Sequence[str]) -> str:
    """What to do about pods that answer nothing."""
    pod, others = names[0], _others(names)
    also = f" (as at {others})" if others else ""
    return (
        f"requests wait at pod {pod}{also}, and none was answered in the metrics window: its model hangs, or takes "
        f"longer for its first request; `kubectl logs {pod} -c triton -n {view.namespace}` says how far it is, "
        f"`kubectl delete pod {pod} -n {view.namespace}` replaces it"
    )


def at_fault(view: ServiceView, demand: Demand, reloaded: Sequence[str]) -> tuple[str, str]:
    """(reason, message) where more requests fail than are allowed. `reloaded`: pods whose model was loaded again."""
    namespace, allowed = view.namespace, view.spec.slo.allowed_failures
    asked = [(p.name, p.metrics) for p in view.serving if p.metrics is not None]
    known = {name: failed_share(m) for name, m in asked if m.success_rate + m.failure_rate > 0}
    names = sorted((name for name in known if known[name] > allowed), key=lambda name: (-known[name], name))
    if names and (len(names) < len(known) or len(asked) == 1):
        pod, also = names[0], _others(names)
        whose = "its peers answer theirs" if len(asked) > 1 else "it is the only one"
        more = f" ({also} too)" if also else ""
        done = "its model was loaded again and that did not help; " if pod in reloaded else ""
        return "PodFailing", (
            f"pod {pod} fails {portion(known[pod])} of its requests{more}, {whose}: {done}"
            f"`kubectl logs {pod} -c triton -n {namespace}` says why, `kubectl delete pod {pod} -n {namespace}` "
            "replaces it"
        )
    share = demand.failures_per_second / max(demand.failures_per_second + demand.requests_per_second, 1e-9)
    pod = max(known, key=lambda name: (known[name], name))
    return "RequestsFailing", (
        f"{portion(share)} of the requests fail, on no pod alone: the model or the requests are at fault; "
        f"`kubectl logs {pod} -c triton -n {namespace}` says why: correct what clients send, or set spec.model back"
    )
