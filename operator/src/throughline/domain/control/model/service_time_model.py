"""How long one execution takes: s_k(b) = (α + βb)(1 + γ(k − 1)) for batches of b on k instances.

α is the fixed cost of an execution, β the cost of an item, γ how much of its share each further instance costs the
others (0: none, 1: all of it, as on a device that runs one execution at a time).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from throughline.domain.control.tuning import CLEAR

if TYPE_CHECKING:
    from throughline.api.status import ServiceTime


def chord(first_us: float, limit: int, last_us: float) -> tuple[float, float]:
    """(α, β) of the line through what batches of one and of `limit` take; α ≥ 0, and exact at the limit."""
    beta_us = max(0.0, min((last_us - first_us) / (limit - 1), last_us / limit)) if limit > 1 else 0.0
    return last_us - beta_us * limit, beta_us


@dataclass(frozen=True, slots=True)
class ServiceTimeModel:
    """s_k(b) in microseconds. `segments`: (largest batch, α, β) of the lines that fit batches up to there better, where
    one line for all does not: a kernel that spills, a cache that is too small, padding to the next power of two.
    `contended_us`: how long the executions that `contention` was learned from take alone, in the mean; 0: unknown.
    `tail_us`: what each item beyond the largest segment takes, by the largest batches seen; None: as the line for all.
    `devices`: of one replica. Instances are counted on each, and contend only with those on their own.
    """

    alpha_us: float
    beta_us: float
    contention: float = 0.0
    segments: tuple[tuple[int, float, float], ...] = ()
    contended_us: float = 0.0
    devices: int = 1
    tail_us: float | None = None

    def slowed(self, times: float) -> ServiceTimeModel:
        """The curve where every execution takes so many times as long."""
        if times == 1.0:
            return self
        return replace(
            self,
            alpha_us=times * self.alpha_us,
            beta_us=times * self.beta_us,
            segments=tuple((limit, times * alpha_us, times * beta_us) for limit, alpha_us, beta_us in self.segments),
            contended_us=times * self.contended_us,
            tail_us=None if self.tail_us is None else times * self.tail_us,
        )

    def segment_for(self, limit: int) -> ServiceTimeModel:
        """The line for batches up to `limit`."""
        if not self.segments:
            return self
        below = [segment for segment in self.segments if segment[0] <= limit]
        largest, alpha_us, beta_us = below[-1] if below else self.segments[0]  # below the smallest, the nearest
        if limit > self.segments[-1][0]:
            if self.tail_us is None:
                return replace(self, segments=())
            first_us = self.segments[0][1] + self.segments[0][2]
            alpha_us, beta_us = chord(first_us, limit, alpha_us + beta_us * largest + self.tail_us * (limit - largest))
        return replace(self, alpha_us=alpha_us, beta_us=beta_us, segments=())

    def contention_of(self, alone_us: float) -> float:
        """γ of executions that take so long alone.

        What does not contend on a shared device is the part of an execution that is not spent there: tensors handed
        over, kernels launched, answers made. It does not grow with the batch, so of a shorter execution it is more, and
        of a longer one less.
        """
        if self.contended_us <= 0.0 or self.contention >= 1.0:
            return self.contention
        if alone_us > self.contended_us:
            return self._longer_us(alone_us) / alone_us
        return max(0.0, 1.0 - (1.0 - self.contention) * self.contended_us / alone_us)

    def _longer_us(self, alone_us: float) -> float:
        """What each further instance adds to executions longer than those that γ was learned from: all of the part that
        they are longer by, where the device is shared, and γ of it where it is not.
        """
        shared = min(1.0, max(0.0, (self.contention - CLEAR) / CLEAR))
        share = self.contention + (1.0 - self.contention) * shared
        return self.contention * self.contended_us + share * (alone_us - self.contended_us)

    def with_contention(self, instances: int, limit: int) -> tuple[float, float]:
        """(α, β) in microseconds of batches up to `limit` on so many instances of a device that are all busy."""
        line, more = self.segment_for(limit), instances - 1
        inflation = 1.0 + self.contention * more
        largest_us = line.alpha_us + line.beta_us * limit
        if more == 0 or self.contended_us <= 0.0 or largest_us <= self.contended_us or self.contention >= 1.0:
            return line.alpha_us * inflation, line.beta_us * inflation
        # Through the smallest batch and the largest; those between take less.
        smallest_us = line.alpha_us + line.beta_us
        first_us = smallest_us * max(self.contention, self.contention_of(smallest_us))
        beta_us = (self._longer_us(largest_us) - first_us) / (limit - 1) if limit > 1 else 0.0
        return line.alpha_us + more * (first_us - beta_us), line.beta_us + more * beta_us

    def service_us(self, batch: float, instances: int) -> float:
        return (self.alpha_us + self.beta_us * batch) * (1.0 + self.contention * (instances - 1))

    def alone_us(self, batch: int) -> float:
        """What one batch of that size takes on one instance, by the line of the sizes next to it."""
        limit = next((segment[0] for segment in self.segments if segment[0] >= batch), batch)
        return self.segment_for(limit).service_us(batch, 1)

    @classmethod
    def of(cls, learned: ServiceTime, devices: int) -> ServiceTimeModel:
        return cls(
            float(learned.alpha_microseconds),
            float(learned.beta_microseconds),
            learned.contention_permille / 1000,
            devices=devices,
        )
