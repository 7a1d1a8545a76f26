"""One look at Prometheus per poll, shared by all workers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from throughline.domain.observed import MetricsFrame, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.domain.observed import PodKey
    from throughline.ports import MetricsPort
    from throughline.runtime.metrics import Metrics

log = structlog.get_logger("poller")

POLLS_UNTIL_STALE = 3


@dataclass(slots=True)
class Poller:
    """Keeps the newest frame."""

    source: MetricsPort
    metrics: Metrics
    seconds: float
    # Pods that should have metrics and have none in the frame
    lacking: Callable[[MetricsFrame], Sequence[PodKey]] = lambda _: ()
    clock: Callable[[], float] = time.monotonic
    _frame: MetricsFrame | Unavailable = field(
        default=Unavailable("PrometheusUnreachable", "Prometheus has not been asked yet"), init=False
    )
    _at: float = field(default=0.0, init=False)

    def frame(self) -> MetricsFrame | Unavailable:
        """The newest look; Unavailable when it is too old to act on."""
        age = self.clock() - self._at
        if isinstance(self._frame, MetricsFrame) and age > POLLS_UNTIL_STALE * self.seconds:
            return Unavailable(
                "PrometheusUnreachable", f"the newest metrics are {age:.0f} s old: see the operator's log"
            )
        return self._frame

    async def poll(self) -> None:
        """One look."""
        before, frame = self._frame, await self.source.frame()
        self._frame, self._at = frame, self.clock()
        if isinstance(frame, MetricsFrame) and (lacking := self.lacking(frame)):
            self._frame = await self.source.diagnose(frame, lacking)
        available = isinstance(self._frame, MetricsFrame)
        self.metrics.metrics_available.set(int(available))
        self.metrics.metrics_warnings.set(len(frame.warnings) if isinstance(frame, MetricsFrame) else 0)
        if isinstance(self._frame, Unavailable) and self._frame != before:
            log.warning("metrics unavailable", reason=self._frame.reason, message=self._frame.message)
        elif available and isinstance(before, Unavailable):
            log.info("metrics available")

    async def run(self) -> None:
        """Look until cancelled. A failure that nobody foresaw is logged, and leaves the metrics to go stale."""
        while True:
            try:
                await self.poll()
            except Exception:
                log.exception("metrics not read")
            await asyncio.sleep(self.seconds)
