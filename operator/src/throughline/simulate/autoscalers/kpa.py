"""Knative's pod autoscaler (KPA) on concurrency.

Sources: knative/serving at 98e5ef9: pkg/autoscaler/scaling/autoscaler.go (Scale, newAutoscaler),
config/core/configmaps/autoscaler.yaml (defaults), pkg/reconciler/autoscaling/resources/target.go (the target is the
container concurrency times container-concurrency-target-percentage).

Where we differ: no activator buffers requests, none is needed as replicas do not go to zero.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.simulate.types import Orders

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Look


@dataclass(slots=True)
class Kpa:
    """`container_concurrency`: requests waiting or executing that a replica may hold; `target_utilization` of it is
    what it is to hold. `panic_threshold`: panic from this many times the ready pods' target on.
    """

    settings: BatchSettings
    container_concurrency: float
    min_replicas: int
    max_replicas: int
    target_utilization: float = 0.7
    stable_window_seconds: float = 60.0
    panic_window_seconds: float = 6.0
    panic_threshold: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_seconds: float = 0.0
    name: str = "kpa"
    interval_seconds: float = 2.0
    _new: bool = field(init=False, default=True, repr=False)
    _panic_seconds: float | None = field(init=False, default=None, repr=False)  # when last over the threshold
    _panic_replicas: int = field(init=False, default=0, repr=False)
    _desired: deque[tuple[float, int]] = field(init=False, default_factory=deque, repr=False)

    def decide(self, look: Look) -> Orders:
        if self._new and look.ready > 1:
            # It begins in panic, so that without history it does not scale down.
            self._panic_seconds, self._panic_replicas = look.now_seconds, look.ready
        self._new = False
        stable = look.concurrency(self.stable_window_seconds)
        panic = look.concurrency(self.panic_window_seconds)
        if stable is None or panic is None:
            return Orders()
        desired = self._scale(look.now_seconds, max(1, look.ready), stable, panic)
        desired = min(max(self._delayed(look.now_seconds, desired), self.min_replicas), self.max_replicas)
        return Orders() if desired == look.replicas else Orders(desired)

    def _scale(self, now: float, ready: int, stable: float, panic: float) -> int:
        """Replicas by the stable window; in panic by the larger of both windows, and never fewer than before."""
        target = self.container_concurrency * self.target_utilization
        highest = math.ceil(self.max_scale_up_rate * ready)
        lowest = math.floor(ready / self.max_scale_down_rate)
        by_stable = min(max(math.ceil(stable / target), lowest), highest)
        by_panic = min(max(math.ceil(panic / target), lowest), highest)
        if math.ceil(panic / target) / ready >= self.panic_threshold:
            self._panic_seconds = now
        elif self._panic_seconds is not None and self._panic_seconds + self.stable_window_seconds < now:
            self._panic_seconds, self._panic_replicas = None, 0
        if self._panic_seconds is None:
            return by_stable
        self._panic_replicas = max(self._panic_replicas, by_stable, by_panic)
        return self._panic_replicas

    def _delayed(self, now: float, desired: int) -> int:
        """The highest of the delay: fewer replicas are ordered once they were enough for that long."""
        self._desired.append((now, desired))
        while len(self._desired) > 1 and self._desired[0][0] <= now - self.scale_down_delay_seconds:
            self._desired.popleft()
        return max(replicas for _, replicas in self._desired)
