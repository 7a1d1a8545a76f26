"""The clairvoyant contender: it knows all arrivals and events of the trace, and plans replicas for the least cost.

It pays as everybody does, for each replica from its creation until it has drained, and its schedule is run in the world
as everybody's: its cost and its late share are measured. No autoscaler can be expected to be cheaper at the same late
share on the same batch settings, so it is a bound, and one that can be run. It is no proof: the plan is the best in the
model of `foreseen`. That model's error in the late share is taken out by the search, which goes by what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from throughline.simulate.autoscalers.scheduled import Scheduled
from throughline.simulate.foreseen import bin_length, foresee, lead_seconds
from throughline.simulate.planning import best_plan
from throughline.simulate.run import run_autoscaler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.planning import Problem
    from throughline.simulate.run import Case, Result

    Counts = NDArray[np.int64]

NAME = "clairvoyant"
# Replica-seconds for one late request: from nobody cares to a replica for an hour for one request.
LEAST_MULTIPLIER, MOST_MULTIPLIER = 1e-4, 3600.0
MODEL_STEPS = 12  # of a bisection in the model: the multiplier to 0.5 %
RUNS = 8  # in the world, by the multiplier
SPLICES = 5  # and more, by the time of a splice
LEAST_SHARE = 0.01  # of the allowed one: below it, shares have no logarithm to go by
CLOSE = 0.95  # of the allowed share is spent: another run would gain less than it takes
FIRST_STEP = 2.0  # factor on the multiplier while one side of the budget has not been seen
SETTLED_SECONDS = 1e-3  # after a replica was to be ready, it is


def clairvoyant(case: Case, settings: BatchSettings, allowed: float, others: Iterable[Result] = ()) -> Result:
    """The cheapest schedule found whose late share is at most `allowed`, as measured; the least late where none is.

    `others`: results of schedules that it could have chosen, too (a constant count), on the same case and settings.
    """
    search = _Search(case, settings, foresee(case, settings), allowed)
    found = [*search.run(), *others]
    able = [r for r in found if r.violations <= allowed]
    return min(able, key=lambda r: r.cost) if able else min(found, key=lambda r: r.violations)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A schedule, and what came of it. `at`: the multiplier, or the bin of the splice."""

    at: float
    replicas: Counts
    result: Result


@dataclass(slots=True)
class _Search:
    """For the schedule that spends the allowed share and no more, as the world measures it."""

    case: Case
    settings: BatchSettings
    problem: Problem
    allowed: float
    measured: dict[bytes, Result] = field(default_factory=dict)  # by schedule

    def run(self) -> list[Result]:
        """All that was measured on the way."""
        short, enough = self._by_multiplier()
        if short is not None and enough is not None and not self._spent(enough):
            self._by_splice(short, enough)
        return list(self.measured.values())

    def _by_multiplier(self) -> tuple[_Trial | None, _Trial | None]:
        """The closest on both sides of the allowed share: by the model first, then by runs."""
        short: _Trial | None = None  # too many are late
        enough: _Trial | None = None
        multiplier = self._by_model()
        while LEAST_MULTIPLIER <= multiplier <= MOST_MULTIPLIER and len(self.measured) < RUNS:
            runs = len(self.measured)
            trial = self._try(multiplier, best_plan(self.problem, multiplier).replicas)
            if trial.result.violations <= self.allowed:
                enough = trial
                multiplier /= FIRST_STEP
            else:
                short = trial
                multiplier *= FIRST_STEP
            if short is not None and enough is not None:
                if self._spent(enough) or len(self.measured) == runs:
                    break
                multiplier = self._between(short, enough)
        return short, enough

    def _by_splice(self, short: _Trial, enough: _Trial) -> None:
        """Where no multiplier spends the allowed share, two schedules are as good at one: each for a part of the time.

        Counts are whole, so the least cost jumps as the share does; between two of its points lies their mixture.
        """
        first = int(self.case.traffic.warmup_seconds / bin_length(self.case))
        low, high = first, short.replicas.size  # bins from which on there are enough
        for _ in range(SPLICES):
            middle = (low + high) // 2
            trial = self._try(middle, np.concatenate((short.replicas[:middle], enough.replicas[middle:])))
            if trial.result.violations > self.allowed:
                high = middle
            elif self._spent(trial):
                break
            else:
                low = middle

    def _by_model(self) -> float:
        """The least multiplier at which the plan itself says that the share is kept."""
        requests = float(np.count_nonzero(self.case.traffic.arrivals >= self.case.traffic.warmup_seconds))
        low, high = math.log(LEAST_MULTIPLIER), math.log(MOST_MULTIPLIER)
        for _ in range(MODEL_STEPS):
            middle = (low + high) / 2
            if best_plan(self.problem, math.exp(middle)).late <= self.allowed * requests:
                high = middle
            else:
                low = middle
        return math.exp(high)

    def _between(self, short: _Trial, enough: _Trial) -> float:
        """By a straight line through both in logarithms, but not at an end."""
        over, under = short.result.violations, max(enough.result.violations, LEAST_SHARE * self.allowed)
        way = math.log(over / self.allowed) / math.log(over / under)
        return short.at * math.pow(enough.at / short.at, min(0.75, max(0.25, way)))

    def _spent(self, trial: _Trial) -> bool:
        return trial.result.violations >= CLOSE * self.allowed

    def _try(self, at: float, replicas: Counts) -> _Trial:
        key = replicas.tobytes()
        if key not in self.measured:
            self.measured[key] = run_plan(self.case, self.settings, replicas)
        return _Trial(at, replicas, self.measured[key])


def run_plan(case: Case, settings: BatchSettings, replicas: Counts) -> Result:
    """The result of these replicas, of which each bin has its count, in the world."""
    e = case.environment
    orders = orders_for(replicas, bin_length(case), lead_seconds(case), e.drain_seconds)
    return run_autoscaler(case, Scheduled(settings, orders, NAME), replicas=int(replicas[0]))


def orders_for(
    replicas: Counts, bin_seconds: float, lead_seconds: float, drain_seconds: float
) -> list[tuple[float, int]]:
    """(seconds, count to order then) by which so many replicas serve in each bin.

    A replica is ordered `lead_seconds` before its first bin, and told to go `drain_seconds` before the end of its last,
    as it serves on for so long, but not before it is ready: a ReplicaSet removes those first that are not. Those of a
    bin are ordered over one time, so where two such times meet nobody goes and comes again.
    """
    starts = np.arange(replicas.size) * bin_seconds
    come = starts - lead_seconds
    go = starts + bin_seconds - min(drain_seconds, lead_seconds)
    rises = np.diff(replicas, prepend=replicas[:1]) > 0
    go[rises] = np.maximum(go[rises], starts[rises] + SETTLED_SECONDS)
    go[-1] = np.inf
    found: list[tuple[float, int]] = []
    for at in np.unique(np.concatenate(([0.0], come[come > 0.0], go[(go > 0.0) & (go < np.inf)]))):
        first = max(0, math.floor(at / bin_seconds) - 1)
        window = slice(first, int(np.searchsorted(come, at, side="right")))
        wanted = replicas[window][go[window] > at]
        if wanted.size and (not found or found[-1][1] != wanted.max()):
            found.append((float(at), int(wanted.max())))
    return found
