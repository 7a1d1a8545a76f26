"""No autoscaler: the replicas that one gave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.simulate.types import Orders

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.simulate.types import Look


@dataclass(slots=True)
class Fixed:
    """Constant replicas."""

    settings: BatchSettings
    replicas: int
    name: str = "fixed"
    interval_seconds: float = 15.0

    def decide(self, look: Look) -> Orders:
        return Orders() if look.replicas == self.replicas else Orders(self.replicas)
