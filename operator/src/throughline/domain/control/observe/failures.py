"""Requests that fail: whether more do than spec.slo.availability allows, and which pods are at fault.

Given up requests do not count: the client ended them. Of a pod that fails where its peers do not, neither its settings
nor the model nor the load balancer is to blame, but its own server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.control.tuning import MIN_COUNT

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from throughline.domain.observed import PodMetrics, PodView


def tell(failed: float) -> bool:
    """Whether so many failures are more than chance, or one client's mistake."""
    return failed >= MIN_COUNT / 2


def beyond(failed_per_second: float, answered_per_second: float, allowed: float, window_seconds: float) -> bool:
    """Whether a larger share fails than is allowed, by more than chance."""
    requests = failed_per_second + answered_per_second
    return failed_per_second > allowed * requests and tell(failed_per_second * window_seconds)


def faulty(metrics: PodMetrics, allowed: float, window_seconds: float) -> bool:
    """Whether the pod fails so many of its requests that it does not do its work."""
    failed, answered = metrics.failure_rate, metrics.success_rate
    return beyond(failed, answered, max(allowed, 0.5), window_seconds)


def silent(metrics: PodMetrics, slo_us: float, window_seconds: float) -> bool:
    """Whether requests wait at the pod and it has answered none, neither well nor badly, for longer than the SLO."""
    answers = metrics.success_rate + metrics.failure_rate
    return metrics.pending >= 1.0 and answers == 0.0 and window_seconds * 1e6 > slo_us


def failed_share(metrics: PodMetrics) -> float:
    requests = metrics.failure_rate + metrics.success_rate
    return metrics.failure_rate / requests if requests > 0 else 0.0


def one_sided(faulty_pods: Collection[str], serving: Sequence[PodView]) -> bool:
    """Whether some pods fail their requests and others of the same model answer theirs."""
    return bool(faulty_pods) and any(
        p.name not in faulty_pods and p.metrics is not None and p.metrics.success_rate > 0 for p in serving
    )
