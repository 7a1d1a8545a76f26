"""Predict: what settings would need and do, of a problem: cost, capacity and latency of one point of the space."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.model.queueing import capacity_per_second, closed_loop_per_second, closed_p99_us, p99_us
from throughline.domain.control.tuning import CLEAR, NOISE, SEEN_WEIGHT, SLO_HEADROOM

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.domain.control.model.service_time_model import ServiceTimeModel

# A count of replicas that is over a whole number by so little is that number.
WHOLE = 1e-9


class Problem(NamedTuple):
    """What the choice is made from. Rates are items per second."""

    curve: ServiceTimeModel
    slo_us: float
    demand_per_second: float
    in_flight_per_replica: float
    biases: tuple[tuple[BatchSettings, float], ...]  # measured over predicted p99, by settings that were in force
    default_bias: float  # of all others
    spreads: tuple[tuple[BatchSettings, float], ...]  # relative standard deviations of `biases`, of each settings alone
    dispersion: float
    price_per_hour: float
    max_replicas: int
    min_replicas: int
    closed_loop: bool = False  # each client sends again when it has its answer
    may_be_closed_loop: bool = False  # and replicas are for open-loop arrivals
    inter_execution_idle_us: float = 0.0  # between two executions of one instance
    replicas: int = 0  # that serve now; with closed-loop clients
    floor_per_second: float = 0.0  # that they must be able to serve, however many that takes

    @property
    def for_clients(self) -> bool:
        """Of settings that need as many replicas those are best that closed-loop clients get most from."""
        return self.closed_loop or self.may_be_closed_loop

    @property
    def closed_weight(self) -> float:
        """Of the throughput of closed-loop clients in the objective."""
        return SEEN_WEIGHT if self.for_clients else 1.0 - SEEN_WEIGHT

    def bias(self, settings: BatchSettings) -> float:
        return next((bias for known, bias in self.biases if known == settings), self.default_bias)

    def doubting(self, present: BatchSettings) -> Problem:
        """The problem in which settings that were in force before are as slow, beside the present ones, as they may
        well be. Of those that never were only a trial can tell.
        """
        spreads = dict(self.spreads)
        here = spreads.get(present, CLEAR)
        return self._replace(
            biases=tuple(
                (s, bias if s == present else bias * math.exp(math.hypot(spreads[s], here))) for s, bias in self.biases
            )
        )

    def limit_us(self, settings: BatchSettings) -> float:
        """The p99 that the uncorrected prediction may reach."""
        return self.slo_us * (1.0 - SLO_HEADROOM) / self.bias(settings)

    def capacity_per_second(self, settings: BatchSettings) -> float:
        """Of one replica, within the SLO; 0: it cannot be met."""
        return capacity_per_second(self.curve, settings, self.limit_us(settings), self.dispersion)


class Candidate(NamedTuple):
    """One point of the space, with what it would do."""

    settings: BatchSettings
    capacity_per_second: float  # of one replica, within the SLO
    needed: int | None  # replicas; None: no number of them meets the SLO
    replicas: int  # `needed` within the bounds
    p99_us: float  # corrected, at the demand spread over `replicas`
    cost_per_hour: float
    objective: float
    closed_per_second: float  # of one replica, from closed-loop clients

    @property
    def feasible(self) -> bool:
        return self.needed is not None and self.needed <= self.replicas


def answers_clients(problem: Problem, settings: BatchSettings, closed_per_second: float) -> bool:
    """Whether the replicas that serve now are enough under these settings, since the clients are closed-loop and have
    their answers within the SLO. Such clients send what they get: served faster they ask for more, and open-loop
    arrivals of that much would need more replicas, which would be asked for more again.
    """
    return (
        problem.closed_loop
        and problem.replicas * closed_per_second >= problem.floor_per_second
        and closed_p99_us(closed_per_second, problem.in_flight_per_replica) <= problem.limit_us(settings)
    )


def evaluate(problem: Problem, settings: BatchSettings) -> Candidate:
    """What these settings would need and do."""
    capacity = problem.capacity_per_second(settings)
    needed = None
    if capacity > 0:
        needed = max(problem.min_replicas, math.ceil(problem.demand_per_second * (1.0 + NOISE) / capacity - WHOLE), 1)
    # Both kinds of load are to be served well: open-loop arrivals (capacity within the SLO) and closed-loop clients
    # (throughput at the requests now in flight). The kind that is seen counts most.
    closed = closed_loop_per_second(
        problem.curve, settings, problem.in_flight_per_replica, problem.inter_execution_idle_us
    )
    weight = problem.closed_weight
    answered = needed is not None and needed > problem.replicas and answers_clients(problem, settings, closed)
    if answered:
        needed = max(problem.replicas, problem.min_replicas)
    replicas = min(problem.max_replicas, needed if needed is not None else problem.max_replicas)
    replicas = max(replicas, problem.min_replicas, 1)
    if answered:
        p99 = closed_p99_us(closed, problem.in_flight_per_replica)
    else:
        p99 = p99_us(problem.curve, settings, problem.demand_per_second / replicas, problem.dispersion)
    return Candidate(
        settings=settings,
        capacity_per_second=capacity,
        needed=needed,
        replicas=replicas,
        p99_us=problem.bias(settings) * p99,
        cost_per_hour=replicas * problem.price_per_hour,
        objective=capacity ** (1.0 - weight) * closed**weight,
        closed_per_second=closed,
    )
