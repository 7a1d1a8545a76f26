"""Choose batch settings and replicas together: the cheapest within the SLO, and of these the one with most headroom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.domain.control.model.bounds import between
from throughline.domain.control.model.queueing import carries, closed_loop_per_second, saturation_per_second
from throughline.domain.control.predict.outcome import WHOLE, evaluate
from throughline.domain.control.tuning import (
    MAX_BATCH_GROWTH,
    MAX_DELAY_SHARE,
    MAX_UTILIZATION,
    NOISE,
    SLO_HEADROOM,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from throughline.api.batching import Batching
    from throughline.domain.control.predict.outcome import Candidate, Problem

QUEUE_DELAYS_MICROSECONDS = (0, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
_PROMISE = itemgetter(0, 1)


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
        return fewest == self.replicas and most ** (1.0 - self.weight) * closed**self.weight < (1.0 - NOISE) * self.top

    def must_carry(self, fewest: float, closed: float) -> float:
        """Items per second that one replica must carry for the candidate to be chosen; negative: any."""
        if self.waived and fewest < self.replicas:
            return -1.0
        if self.replicas == math.inf:
            return self.most
        as_many = 0.0 if self.waived else self.wanted / (self.replicas + WHOLE)
        if self.top > 0:
            objective = ((1.0 - NOISE) * self.top / closed**self.weight) ** (1.0 / (1.0 - self.weight))
            as_many = max(as_many, objective)
        fewer = self.wanted / (self.replicas - 1 + WHOLE) if fewest < self.replicas else math.inf
        return min(as_many, fewer)


def search(problem: Problem, space: Iterable[BatchSettings], current: Candidate) -> list[Candidate]:
    """Evaluate what may be chosen, and leave out what cannot: `choose` finds the same as if all had been evaluated.

    What is known at once excludes most: a replica never carries more than its saturation throughput, and never more
    with a queue delay than without one. What remains is asked one thing before its capacity is searched for: whether
    it carries what it would have to.
    """
    best = _Best(problem.demand_per_second * (1.0 + NOISE), problem.closed_weight, waived=problem.closed_loop)
    best.add(current)
    least = max(problem.min_replicas, 1)
    enough = max(least, problem.replicas) if problem.closed_loop else math.inf
    slack_us = problem.slo_us * (1.0 - SLO_HEADROOM) / min((problem.default_bias, *(e for _, e in problem.biases)))
    families = []
    for plain, members in (space if isinstance(space, Space) else Space(space)).families:
        most = MAX_UTILIZATION * saturation_per_second(problem.curve, plain)
        fewest = min(enough, max(least, math.ceil(best.wanted / most - WHOLE)))
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
    return min((o for o in best if o.objective >= (1.0 - NOISE) * top), key=lambda o: _size(o.settings))
