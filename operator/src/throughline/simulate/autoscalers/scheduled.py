"""No autoscaler: counts of replicas that were decided before, each ordered at its time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.simulate.types import Orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Look

DUE_SECONDS = 1e-6  # as late as this is in time: the world's clock stops within 1e-9 of what it was asked for


@dataclass(slots=True)
class Scheduled:
    """`orders`: (seconds, replicas ordered from then on), sorted. It is asked again when the next one is due."""

    settings: BatchSettings
    orders: Sequence[tuple[float, int]]
    name: str = "scheduled"
    interval_seconds: float = field(init=False, default=math.inf)
    _next: int = field(init=False, default=0, repr=False)

    def decide(self, look: Look) -> Orders:
        replicas = look.replicas
        while self._next < len(self.orders) and self.orders[self._next][0] <= look.now_seconds + DUE_SECONDS:
            replicas = self.orders[self._next][1]
            self._next += 1
        due = self.orders[self._next][0] if self._next < len(self.orders) else math.inf
        self.interval_seconds = due - look.now_seconds
        return Orders() if replicas == look.replicas else Orders(replicas)
