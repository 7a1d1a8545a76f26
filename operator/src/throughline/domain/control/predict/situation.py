"""What a choice is made from: the observation, the estimates, and the problem that follows of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.domain.control.predict.problem import min_replicas
from throughline.domain.control.tuning import CLEAR, SETTLED_SECONDS

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.api.status import ControlStatus
    from throughline.domain.control.estimate.estimates import Estimates
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.control.observe.observation import Observation
    from throughline.domain.control.predict.outcome import Problem
    from throughline.domain.observed import PodView, ServiceView


@dataclass(frozen=True, slots=True)
class Situation:
    """As it is handed on: nothing in it changes any more."""

    observation: Observation
    estimates: Estimates
    problem: Problem | None

    @property
    def view(self) -> ServiceView:
        return self.observation.view

    @property
    def control(self) -> ControlStatus:
        return self.observation.control

    @property
    def demand(self) -> Demand | None:
        return self.observation.demand

    @property
    def settings(self) -> BatchSettings:
        return self.observation.settings

    @property
    def serving(self) -> tuple[PodView, ...]:
        return self.observation.serving

    @property
    def slo_us(self) -> float:
        return self.observation.slo_us

    @property
    def now(self) -> float:
        return self.observation.now

    @property
    def min_replicas(self) -> int:
        """Of spec.scaling, and of its schedules while they are in force."""
        return min_replicas(self.observation, self.estimates)

    @property
    def largest_batch(self) -> int:
        """That was ever seen; 0: none."""
        learned = self.estimates.learned
        return learned.largest_batch if learned else 0

    @property
    def first_batches(self) -> bool:
        """Whether none was ever seen, and may be: they gain more than any neighbour takes, and come before replicas."""
        allowed = self.view.spec.batching.max_batch_size.max > 1
        return allowed and self.largest_batch <= 1 and self.settings.max_batch_size <= 1

    @property
    def in_flight_converged(self) -> bool:
        """In-flight requests have been stable over the last few samples."""
        demand, ready, mean = self.demand, max(1, len(self.serving)), self.estimates.state.in_flight
        return demand is not None and mean is not None and abs(demand.in_flight / ready - mean) <= CLEAR * mean

    @property
    def short(self) -> bool:
        """More comes now than the replicas that are ordered are trusted with: by the metrics window, or by the samples,
        where load has come since the window began.
        """
        demand, forecast = self.demand, self.estimates.forecast
        if demand is None or demand.saturated or self.problem is None or forecast is None:
            return demand is not None and demand.saturated
        return forecast.now > self.problem.capacity_per_second(self.settings) * (self.view.replicas or 0)

    @property
    def unloaded(self) -> tuple[str, ...]:
        """Names of pods that the load has not reached for long."""
        since = self.observation.state.unloaded_since
        return tuple(name for name, began in since.items() if self.now - began >= SETTLED_SECONDS)

    def seconds_since(self, timestamp: str | None) -> float:
        return self.observation.seconds_since(timestamp)
