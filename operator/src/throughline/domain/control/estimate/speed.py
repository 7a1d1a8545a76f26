"""Separate the node's present speed from the model's own cost.

A neighbour on the node or a throttled clock slows executions of every batch size alike, for as long as it lasts; the
model's own cost stays. So the factor that all batch sizes of a sample have in common is the node's, and what is learned
of the model is normalised by it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from throughline.domain.control.estimate.quantise import quantised
from throughline.domain.control.tuning import (
    CLEAR,
    LASTING_SECONDS,
    MEMORY_SECONDS,
    NOISE,
    SAME,
    SETTLED_SECONDS,
    SIGMAS,
)


class Sample(NamedTuple):
    """Executions since the last sample of batch sizes that were known before, and the work of all."""

    executions: float
    took_us: float
    expected_us: float  # at speed 1
    work_per_second: float  # µs of execution, of all batch sizes

    @property
    def ratio(self) -> float:
        return self.took_us / self.expected_us


class Speed(NamedTuple):
    """Times of execution now over those that are learned. `ratio`: of the last sample."""

    slowdown: float = 1.0
    ratio: float = 1.0
    since_seconds: float = 0.0  # of the slowdown, whatever its factor
    moved_seconds: float = -math.inf  # when `slowdown` last changed
    usual_work: float = 0.0  # `Sample.work_per_second` while not slowed, smoothed
    pod_seconds: float = -math.inf  # when a pod last came

    @property
    def slowed(self) -> bool:
        return self.slowdown > 1.0

    @property
    def usual(self) -> bool:
        """Not slowed, nor by the last sample, which is not confirmed yet."""
        return not self.slowed and self.ratio <= 1.0 + CLEAR

    def lasting(self, now_seconds: float) -> bool:
        return self.slowed and now_seconds - self.since_seconds >= LASTING_SECONDS

    def after(self, sample: Sample, seconds: float, now_seconds: float) -> Speed:
        """The speed with a sample of the last `seconds`. The median of two samples and what was known: a single odd
        sample changes nothing, two that agree everything.
        """
        ratio, chance = sample.ratio, SIGMAS / math.sqrt(sample.executions)
        median = sorted((self.slowdown, self.ratio, ratio))[1]
        work = sample.work_per_second / max(1.0, ratio)
        if self.slowed:
            slowed = median > 1.0 + SAME
        else:
            grown = 0.0 < (1.0 + CLEAR + chance) * self.usual_work < work
            own = grown or now_seconds - self.pod_seconds < SETTLED_SECONDS
            slowed = not own and median > 1.0 + CLEAR + chance
        slowdown = quantised(median, NOISE, self.slowdown) if slowed else 1.0
        usual = self.usual_work
        if not slowed:
            usual += (1.0 - 0.5 ** (seconds / MEMORY_SECONDS) if usual else 1.0) * (work - usual)
        return self._replace(
            slowdown=slowdown,
            ratio=ratio,
            since_seconds=self.since_seconds if self.slowed else now_seconds,
            moved_seconds=self.moved_seconds if slowdown == self.slowdown else now_seconds,
            usual_work=usual,
        )

    def absorbed(self) -> Speed:
        """After the slowdown was taken into what is learned."""
        return self._replace(slowdown=1.0, ratio=1.0)
