"""KEDA's Prometheus scaler: it makes an HPA on an external metric and answers that HPA's questions by a query.

Sources: kedacore/keda at 8b4f083: pkg/scalers/prometheus_scaler.go (threshold as AverageValue, ignoreNullValues),
pkg/fallback/fallback.go (a failing query is an error to the HPA until `failureThreshold` failures are exceeded, then
the metric is made up so that `replicas` result); kubernetes/kubernetes replica_calculator.go
GetExternalPerPodMetricReplicas.

The HPA asks each 15 s and KEDA then runs the query (unless useCachedMetrics). pollingInterval, cooldownPeriod and
activationThreshold act only between zero and one replica, which does not occur here: `min_replicas` is at least 1.

Where we differ: KEDA's ignoreNullValues is true by default, by which a query without result is 0 and the HPA goes to
`min_replicas` when the scrapes fail. Here it is false by default, the better choice for a server: the query is an error
and the HPA holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.simulate.autoscalers.hpa import (
    SCALE_DOWN,
    SCALE_UP,
    SYNC_SECONDS,
    TOLERANCE,
    Behavior,
    Metric,
    Rules,
    milli,
    within,
)

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Look, Orders


@dataclass(frozen=True, slots=True)
class Fallback:
    """spec.fallback with behavior static."""

    failure_threshold: int
    replicas: int


def request_rate(window_seconds: float = 60.0) -> Metric:
    """Requests per second at the gateway in front, answered or not."""
    return lambda look: look.requests_per_second(window_seconds)


def served_rate(window_seconds: float = 60.0) -> Metric:
    """Answers per second over all pods, sum(rate(...[window]))."""
    return lambda look: look.served_per_second(window_seconds)


def in_flight(look: Look) -> float | None:
    """Requests waiting or executing, over all pods."""
    return look.in_flight()


@dataclass(slots=True)
class Keda:
    """`query` is a total over all pods, `threshold` what of it a replica is to have."""

    settings: BatchSettings
    query: Metric
    threshold: float
    min_replicas: int
    max_replicas: int
    fallback: Fallback | None = None
    ignore_null_values: bool = False
    scale_up: Rules = SCALE_UP
    scale_down: Rules = SCALE_DOWN
    tolerance: float = TOLERANCE
    name: str = "keda"
    interval_seconds: float = SYNC_SECONDS
    _behavior: Behavior = field(init=False, repr=False)
    _failures: int = field(init=False, default=0, repr=False)

    def __post_init__(self) -> None:
        self._behavior = Behavior(self.min_replicas, self.max_replicas, self.scale_up, self.scale_down)

    def decide(self, look: Look) -> Orders:
        total = self._total(look)
        recommended = None if total is None else self._recommend(total, max(1, look.replicas))
        return self._behavior.reconcile(look.now_seconds, look.replicas, recommended)

    def _total(self, look: Look) -> float | None:
        """What the metrics adapter answers; None is an error."""
        total = self.query(look)
        if total is None and self.ignore_null_values:
            total = 0.0
        if total is not None:
            self._failures = 0
            return total
        self._failures += 1
        if self.fallback is None or self._failures <= self.fallback.failure_threshold:
            return None
        return self.threshold * self.fallback.replicas

    def _recommend(self, total: float, replicas: int) -> int:
        """By the total, whether its pods are ready or not."""
        needed = milli(total) / milli(self.threshold)
        return replicas if within(needed / replicas, self.tolerance) else math.ceil(needed)
