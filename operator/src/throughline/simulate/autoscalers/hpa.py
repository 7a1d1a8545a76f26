"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v2) on a metric per pod.

Sources: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go (calcPlainMetricReplicas and
Tolerances, as since v1.33) and horizontal.go (reconcileAutoscaler, stabilizeRecommendationWithBehaviors,
convertDesiredReplicasWithBehaviorRate, read at 00067268 and, for the stabilization since v1.24, in later forks);
kubernetes/website content/en/docs/tasks/run-application/horizontal-pod-autoscale.md at 01650250: tolerance 0.1, sync
period 15 s, scale-down stabilization 300 s, scale-up stabilization 0, up by the larger of 100 % and 4 pods per 15 s,
down by 100 % per 15 s.

Where we differ: a pod that is not ready counts as pending until it serves; a real one counts, between its start and its
first metrics, as missing (at the target when scaling down, idle when scaling up). Only selectPolicy Max exists here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from throughline.simulate.types import Look, Orders

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings

Metric = Callable[[Look], float | None]

SYNC_SECONDS = 15.0
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `value` pods, or percent of the pods at the period's start, per period."""

    kind: Literal["Pods", "Percent"]
    value: float
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of spec.behavior; of several policies the one that allows most counts."""

    policies: tuple[Policy, ...]
    stabilization_seconds: float


SCALE_UP = Rules((Policy("Percent", 100.0, 15.0), Policy("Pods", 4.0, 15.0)), stabilization_seconds=0.0)
SCALE_DOWN = Rules((Policy("Percent", 100.0, 15.0),), stabilization_seconds=300.0)


def milli(value: float) -> int:
    """A metric as a Kubernetes quantity, the precision at which the HPA calculates."""
    return round(value * 1000.0)


def within(ratio: float, tolerance: float) -> bool:
    return 1.0 - tolerance <= ratio <= 1.0 + tolerance


class Behavior:
    """What becomes of a recommendation: bounds, stabilization windows, and policies."""

    def __init__(self, min_replicas: int, max_replicas: int, up: Rules, down: Rules) -> None:
        self._min = min_replicas
        self._max = max_replicas
        self._up = up
        self._down = down
        self._recommendations: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def reconcile(self, now_seconds: float, current: int, recommended: int | None) -> Orders:
        """Replicas out of bounds are corrected whatever the metrics say; without metrics the rest holds."""
        if not self._min <= current <= self._max:
            desired = min(max(current, self._min), self._max)
        elif recommended is None:
            return Orders()
        else:
            desired = self._limit(now_seconds, current, self._stabilize(now_seconds, current, recommended))
        if desired == current:
            return Orders()
        self._changes.append((now_seconds, desired - current))
        return Orders(desired)

    def _stabilize(self, now: float, current: int, recommended: int) -> int:
        """Up to the lowest, down to the highest recommendation of the direction's window."""
        horizon = now - max(self._up.stabilization_seconds, self._down.stabilization_seconds)
        while self._recommendations and self._recommendations[0][0] <= horizon:
            self._recommendations.popleft()
        up_after = now - self._up.stabilization_seconds
        down_after = now - self._down.stabilization_seconds
        lowest = min([recommended, *(r for at, r in self._recommendations if at > up_after)])
        highest = max([recommended, *(r for at, r in self._recommendations if at > down_after)])
        self._recommendations.append((now, recommended))
        return min(max(current, lowest), highest)

    def _limit(self, now: float, current: int, desired: int) -> int:
        """As far as the policies and the bounds let it go in this period."""
        longest = max(p.period_seconds for p in (*self._up.policies, *self._down.policies))
        while self._changes and self._changes[0][0] <= now - longest:
            self._changes.popleft()

        def at_start(policy: Policy) -> int:
            return current - sum(change for at, change in self._changes if at > now - policy.period_seconds)

        if desired > current:
            most = max(
                at_start(p) + p.value if p.kind == "Pods" else math.ceil(at_start(p) * (1.0 + p.value / 100.0))
                for p in self._up.policies
            )
            return min(desired, self._max, max(current, int(most)))
        if desired < current:
            least = min(
                at_start(p) - p.value if p.kind == "Pods" else at_start(p) * (1.0 - p.value / 100.0)
                for p in self._down.policies
            )
            return max(desired, self._min, min(current, int(least)))
        return desired


def recommend(mean: float, target: float, replicas: int, ready: int, tolerance: float) -> int | None:
    """Replicas by the mean of a metric over the ready pods; None without ready pods.

    When scaling up, pods that are not ready count as idle. Where that reverses the direction or ends within the
    tolerance, nothing changes.
    """
    if ready == 0:
        return None
    ratio = milli(mean) / milli(target)
    if replicas > ready and ratio > 1.0:
        ready_share = ready / replicas
        ratio = milli(mean * ready_share) / milli(target)
        if ratio < 1.0 or within(ratio, tolerance):
            return replicas
        return math.ceil(ratio * replicas)
    return replicas if within(ratio, tolerance) else math.ceil(ratio * ready)


def utilization(look: Look) -> float | None:
    """Busy share of the instances, mean over the ready pods."""
    return look.utilization()


def queue_length(look: Look) -> float | None:
    """Requests waiting, mean over the ready pods."""
    pending = look.pending()
    return None if pending is None or look.ready == 0 else pending / look.ready


@dataclass(slots=True)
class Hpa:
    """An HPA on a Pods metric with target type AverageValue; `metric` is the mean per ready pod, as `target` is."""

    settings: BatchSettings
    metric: Metric
    target: float
    min_replicas: int
    max_replicas: int
    scale_up: Rules = SCALE_UP
    scale_down: Rules = SCALE_DOWN
    tolerance: float = TOLERANCE
    name: str = "hpa"
    interval_seconds: float = SYNC_SECONDS
    _behavior: Behavior = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._behavior = Behavior(self.min_replicas, self.max_replicas, self.scale_up, self.scale_down)

    def decide(self, look: Look) -> Orders:
        mean = self.metric(look)
        ready = min(look.ready, look.replicas)  # pods on their way out are not counted
        recommended = None if mean is None else recommend(mean, self.target, look.replicas, ready, self.tolerance)
        return self._behavior.reconcile(look.now_seconds, look.replicas, recommended)
