"""Requests that fail: whether more do than spec.slo.availability allows, and which pods are at fault.

Given up requests do not count: the client ended them. Of a pod that fails where its peers do not, neither its settings
nor the model nor the load balancer is to blame, but its own server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.formatting import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.control.demand import Demand
    from throughline.domain.observed import PodMetrics, PodView, ServiceView

# A few failures in a window are chance, or one client's mistake.
MIN_FAILED = 5.0
# A pod that fails this share of its requests, or more, is at fault where its peers are not.
FAULTY_SHARE = 0.5
# The steps in which a share is shown: with a live number, the message would be written again at each sample.
_STEPS = (0.5, 0.1, 0.01, 0.001, 0.0001)
_ALL = 0.995
NAMED = 3


def beyond(failed_per_second: float, answered_per_second: float, allowed: float, window_seconds: float) -> bool:
    """Whether a larger share fails than is allowed, by more than chance."""
    requests = failed_per_second + answered_per_second
    return failed_per_second > allowed * requests and failed_per_second * window_seconds >= MIN_FAILED


def faulty(metrics: PodMetrics, allowed: float, window_seconds: float) -> bool:
    """Whether the pod fails so many of its requests that it does not do its work."""
    failed, answered = metrics.failure_rate, metrics.success_rate
    return beyond(failed, answered, max(allowed, FAULTY_SHARE), window_seconds)


def silent(metrics: PodMetrics, slo_us: float, window_seconds: float) -> bool:
    """Whether requests wait at the pod and it has answered none, neither well nor badly, for longer than the SLO."""
    answers = metrics.success_rate + metrics.failure_rate
    return metrics.pending >= 1.0 and answers == 0.0 and window_seconds * 1e6 > slo_us


def failed_share(metrics: PodMetrics) -> float:
    requests = metrics.failure_rate + metrics.success_rate
    return metrics.failure_rate / requests if requests > 0 else 0.0


def one_sided(demand: Demand, serving: Sequence[PodView]) -> bool:
    """Whether some pods fail their requests and others of the same model answer theirs."""
    return bool(demand.faulty_pods) and any(
        p.name not in demand.faulty_pods and p.metrics is not None and p.metrics.success_rate > 0 for p in serving
    )


def portion(share: float) -> str:
    """A share of requests in words that stay the same while it moves a little."""
    if share >= _ALL:
        return "all"
    step = next((s for s in _STEPS if share > s), None)
    return "some" if step is None else f"more than {plain(100 * step)} %"


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
