"""Choose batch settings and replicas together: the cheapest within the SLO, and of these the one with most headroom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from throughline.api.batching import BatchSettings
from throughline.domain.control.queueing import (
    MAX_UTILIZATION,
    capacity_per_second,
    carries,
    closed_loop_per_second,
    closed_p99_us,
    p99_us,
    saturation_per_second,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from throughline.api.batching import Batching
    from throughline.domain.control.service_time_model import ServiceTimeModel

QUEUE_DELAYS_MICROSECONDS = (0, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
# A queue delay above this share of the SLO spends the latency that bursts need.
MAX_DELAY_SHARE = 0.1
# Batches further than this beyond the largest one seen are extrapolation.
MAX_BATCH_GROWTH = 8
# Settings whose objective is this near to the best tie, and the smaller of them need less memory.
TIE_TOLERANCE = 0.98
# The prediction must leave this part of the SLO unused.
SLO_HEADROOM = 0.06
# Share of the closed-loop throughput in the objective, by the kind of client.
CLOSED_WEIGHT = 0.9
OPEN_WEIGHT = 0.05
# And replicas this much above the demand.
DEMAND_HEADROOM = 1.03
# A count of replicas that is over a whole number by so little is that number.
_WHOLE = 1e-9
_PROMISE = itemgetter(0, 1)


class Problem(NamedTuple):
    """What the choice is made from. Rates are items per second."""

    curve: ServiceTimeModel
    slo_us: float
    demand_per_second: float
    in_flight_per_replica: float
    biases: tuple[tuple[BatchSettings, float], ...]  # measured over predicted p99, by settings that were in force
    default_bias: float  # of all others
    dispersion: float
    price_per_hour: float
    max_replicas: int
    min_replicas: int
    closed_loop: bool = False  # each client sends again when it has its answer
    inter_execution_idle_us: float = 0.0  # between two executions of one instance
    replicas: int = 0  # that serve now; with closed-loop clients
    floor_per_second: float = 0.0  # that they must be able to serve, however many that takes

    def bias(self, settings: BatchSettings) -> float:
        return next((bias for known, bias in self.biases if known == settings), self.default_bias)

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


def clamp(settings: BatchSettings, batching: Batching) -> BatchSettings:
    """The settings moved into the bounds."""
    b, d, i = batching.max_batch_size, batching.max_queue_delay_microseconds, batching.instances
    within = (
        b.min <= settings.max_batch_size <= b.max
        and d.min <= settings.max_queue_delay_microseconds <= d.max
        and i.min <= settings.instances <= i.max
    )
    if within:
        return settings
    return BatchSettings(
        max_batch_size=min(max(settings.max_batch_size, b.min), b.max),
        max_queue_delay_microseconds=min(max(settings.max_queue_delay_microseconds, d.min), d.max),
        instances=min(max(settings.instances, i.min), i.max),
    )


def lower_bounds(batching: Batching) -> BatchSettings:
    """Where a service starts: the least memory and no assumption about the model."""
    return BatchSettings(
        max_batch_size=batching.max_batch_size.min,
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds.min,
        instances=batching.instances.min,
    )


def between(low: int, high: int, points: Iterable[int]) -> list[int]:
    """The bounds, and of the points those between them; sorted."""
    return sorted({low, high, *(p for p in points if low < p < high)})


class Space(tuple[BatchSettings, ...]):  # noqa: SLOT001 - what is derived of it is kept with it
    """Settings to choose from."""

    @cached_property
    def families(self) -> list[tuple[BatchSettings, list[BatchSettings]]]:
        """Those that differ in the queue delay alone, with what they are without one."""
        found: dict[tuple[int, int], list[BatchSettings]] = {}
        for s in self:
            found.setdefault((s.max_batch_size, s.instances), []).append(s)
        return [
            (BatchSettings(max_batch_size=size, max_queue_delay_microseconds=0, instances=k), settings)
            for (size, k), settings in found.items()
        ]


def candidates(batching: Batching, current: BatchSettings, largest_seen: int, slo_us: float) -> Space:
    """Every setting one step may reach: powers of two up to a few times the largest batch seen, twice the instances.

    Until a batch has been seen the instances stay as they are: two unknowns changed at once cannot be told apart.
    """
    reach = max(MAX_BATCH_GROWTH * max(1, largest_seen), current.max_batch_size)
    most_instances = (
        2 * current.instances if largest_seen > 1 or batching.max_batch_size.max <= 1 else current.instances
    )
    return _space(batching, reach, int(slo_us * MAX_DELAY_SHARE), most_instances)


@lru_cache(maxsize=1024)
def _space(batching: Batching, reach: int, most_delay: int, most_instances: int) -> Space:
    b, d, i = batching.max_batch_size, batching.max_queue_delay_microseconds, batching.instances
    sizes = [s for s in between(b.min, b.max, (2**n for n in range(13))) if s <= reach] or [b.min]
    delays = between(d.min, max(d.min, min(d.max, most_delay)), QUEUE_DELAYS_MICROSECONDS)
    most_instances = max(i.min, min(i.max, most_instances))
    counts = between(min(i.min, most_instances), most_instances, range(1, 65))
    return Space(
        BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=count)
        for size in sizes
        for count in counts
        for delay in (delays if size > 1 else delays[:1])
    )


def evaluate(problem: Problem, settings: BatchSettings) -> Candidate:
    """What these settings would need and do."""
    capacity = problem.capacity_per_second(settings)
    needed = None
    if capacity > 0:
        needed = max(
            problem.min_replicas, math.ceil(problem.demand_per_second * DEMAND_HEADROOM / capacity - _WHOLE), 1
        )
    # Both kinds of load are to be served well: open-loop arrivals (capacity within the SLO) and closed-loop clients
    # (throughput at the requests now in flight). The kind that is seen counts most.
    closed = closed_loop_per_second(
        problem.curve, settings, problem.in_flight_per_replica, problem.inter_execution_idle_us
    )
    weight = CLOSED_WEIGHT if problem.closed_loop else OPEN_WEIGHT
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


@dataclass(slots=True)
class _Best:
    """What a candidate must do to be chosen over those found so far."""

    wanted: float
    weight: float
    waived: bool = False  # closed-loop clients, so that a candidate may be chosen without carrying the demand
    replicas: float = math.inf  # of the best that is feasible
    top: float = 0.0  # objective of those with as many replicas
    most: float = -1.0  # capacity of those that meet the SLO with more replicas than may run; -1: there is none

    def add(self, candidate: Candidate) -> None:
        if candidate.feasible and candidate.replicas < self.replicas:
            self.replicas, self.top = candidate.replicas, candidate.objective
        elif candidate.feasible and candidate.replicas == self.replicas:
            self.top = max(self.top, candidate.objective)
        if candidate.needed is not None:
            self.most = max(self.most, candidate.capacity_per_second)

    def excludes(self, fewest: float, most: float, closed: float) -> bool:
        """Whether what carries at most `most`, so needs `fewest` at least, and `closed` in closed loop, loses."""
        if fewest > self.replicas:
            return True
        if self.replicas == math.inf:
            return not self.waived and most < self.most  # others carry more and are still too few
        return fewest == self.replicas and most ** (1.0 - self.weight) * closed**self.weight < TIE_TOLERANCE * self.top

    def must_carry(self, fewest: float, closed: float) -> float:
        """Items per second that one replica must carry for the candidate to be chosen; negative: any."""
        if self.waived and fewest < self.replicas:
            return -1.0
        if self.replicas == math.inf:
            return self.most
        as_many = 0.0 if self.waived else self.wanted / (self.replicas + _WHOLE)
        if self.top > 0:
            objective = (TIE_TOLERANCE * self.top / closed**self.weight) ** (1.0 / (1.0 - self.weight))
            as_many = max(as_many, objective)
        fewer = self.wanted / (self.replicas - 1 + _WHOLE) if fewest < self.replicas else math.inf
        return min(as_many, fewer)


def search(problem: Problem, space: Iterable[BatchSettings], current: Candidate) -> list[Candidate]:
    """Evaluate what may be chosen, and leave out what cannot: `choose` finds the same as if all had been evaluated.

    What is known at once excludes most: a replica never carries more than its saturation throughput, and never more
    with a queue delay than without one. What remains is asked one thing before its capacity is searched for: whether
    it carries what it would have to.
    """
    weight = CLOSED_WEIGHT if problem.closed_loop else OPEN_WEIGHT
    best = _Best(problem.demand_per_second * DEMAND_HEADROOM, weight, waived=problem.closed_loop)
    best.add(current)
    least = max(problem.min_replicas, 1)
    enough = max(least, problem.replicas) if problem.closed_loop else math.inf
    slack_us = problem.slo_us * (1.0 - SLO_HEADROOM) / min((problem.default_bias, *(e for _, e in problem.biases)))
    families = []
    for plain, members in (space if isinstance(space, Space) else Space(space)).families:
        most = MAX_UTILIZATION * saturation_per_second(problem.curve, plain)
        fewest = min(enough, max(least, math.ceil(best.wanted / most - _WHOLE)))
        families.append((fewest, -most, plain, members))
    families.sort(key=_PROMISE)
    found = [current]
    for fewest, minus_most, plain, members in families:
        most = -minus_most
        if best.excludes(fewest, most, most / MAX_UTILIZATION) or not carries(
            problem.curve, plain, best.must_carry(fewest, most / MAX_UTILIZATION), slack_us, problem.dispersion
        ):
            continue
        for settings in members:
            closed = closed_loop_per_second(
                problem.curve, settings, problem.in_flight_per_replica, problem.inter_execution_idle_us
            )
            if best.excludes(fewest, most, closed) or not carries(
                problem.curve, plain, best.must_carry(fewest, closed), problem.limit_us(settings), problem.dispersion
            ):
                continue
            candidate = evaluate(problem, settings)
            found.append(candidate)
            best.add(candidate)
    return found


def _size(settings: BatchSettings) -> tuple[int, int, int]:
    """Smaller needs less memory and adds less waiting; instances cost most of both."""
    return settings.instances, settings.max_batch_size, settings.max_queue_delay_microseconds


def choose(options: Sequence[Candidate]) -> Candidate:
    """The cheapest that meets the SLO; where none does, the one that comes nearest to it.

    Raises ValueError when there is no candidate.
    """
    feasible = [o for o in options if o.feasible]
    if not feasible:
        attainable = [o for o in options if o.needed is not None]
        if attainable:  # replicas are lacking: get the most out of those there are
            return max(attainable, key=lambda o: (o.capacity_per_second, o.objective, [-x for x in _size(o.settings)]))
        return min(options, key=lambda o: (o.p99_us, _size(o.settings)))
    cheapest = min(o.cost_per_hour for o in feasible)
    fewest = min(o.replicas for o in feasible if o.cost_per_hour <= cheapest)
    best = [o for o in feasible if o.cost_per_hour <= cheapest and o.replicas == fewest]
    top = max(o.objective for o in best)
    return min((o for o in best if o.objective >= TIE_TOLERANCE * top), key=lambda o: _size(o.settings))
