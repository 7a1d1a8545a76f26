"""llm-d's workload-variant-autoscaler (WVA): saturation-based scaling, one variant.

Sources: llm-d/llm-d-workload-variant-autoscaler at b08b1c7 (after v0.5.1): internal/saturation/analyzer.go (the V1
percentage-based analyzer, the default), internal/engines/saturation/engine.go (every 30 s),
internal/collector/registration/saturation.go (max_over_time[1m]), config/manager/configmap-saturation-scaling.yaml
(defaults), docs/saturation-analyzer.md.

Where we differ: Triton has no KV cache. What fills one is requests under way, so `usage` is their number over what a
replica can have under way within the SLO (or any other share). Only means over the pods
are known, so all ready replicas are saturated or none is. The HPA that carries out WVA's number is left out, in WVA's
favour: its tolerance would swallow one more replica from ten on, and the chart's stabilization (240 s) would delay it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.simulate.types import Orders

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.simulate.autoscalers.hpa import Metric
    from throughline.simulate.types import Look

PEAK_SECONDS = 60.0


@dataclass(slots=True)
class Wva:
    """Steps of one replica by the spare capacity.

    A replica is saturated from `usage_threshold` (of `usage`, a share) or `queue_threshold` (requests waiting) on; one
    more is ordered when the mean distance to one of them is below its spare trigger. `interval_seconds` is how often
    metrics are sampled, `engine_seconds` how often a decision is made, on the peaks of the last minute.
    """

    settings: BatchSettings
    usage: Metric
    min_replicas: int
    max_replicas: int
    usage_threshold: float = 0.8
    queue_threshold: float = 5.0
    usage_spare_trigger: float = 0.1
    queue_spare_trigger: float = 3.0
    engine_seconds: float = 30.0
    name: str = "wva"
    interval_seconds: float = 15.0
    _next_seconds: float = field(init=False, default=0.0, repr=False)
    _samples: deque[tuple[float, float, float]] = field(init=False, default_factory=deque, repr=False)

    def decide(self, look: Look) -> Orders:
        self._sample(look)
        if look.now_seconds < self._next_seconds:
            return Orders()
        self._next_seconds = look.now_seconds + self.engine_seconds
        # While pods start or stop, capacity is not known well enough to decide.
        if not self._samples or look.ready != look.replicas:
            return Orders()
        desired = min(max(look.replicas + self._step(look.ready), self.min_replicas), self.max_replicas)
        return Orders() if desired == look.replicas else Orders(desired)

    def _sample(self, look: Look) -> None:
        usage = self.usage(look)
        pending = look.pending()
        if usage is not None and pending is not None and look.ready:
            self._samples.append((look.now_seconds, usage, pending / look.ready))
        while self._samples and self._samples[0][0] <= look.now_seconds - PEAK_SECONDS:
            self._samples.popleft()

    def _step(self, ready: int) -> int:
        """+1 where spare capacity is short, −1 where it would still suffice on one replica fewer."""
        usage = max(u for _, u, _ in self._samples)
        queue = max(q for _, _, q in self._samples)
        if usage >= self.usage_threshold or queue >= self.queue_threshold or not self._spare(usage, queue):
            return 1
        if ready < 2:
            return 0
        grown = ready / (ready - 1)
        return -1 if self._spare(usage * grown, queue * grown) else 0

    def _spare(self, usage: float, queue: float) -> bool:
        return (
            self.usage_threshold - usage >= self.usage_spare_trigger
            and self.queue_threshold - queue >= self.queue_spare_trigger
        )
