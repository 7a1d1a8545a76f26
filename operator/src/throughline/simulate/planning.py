"""The cheapest schedule of replicas for demand that is known, by dynamic programming over time bins.

State: the replicas that serve, and the waiting time at their queues. A bin costs what its replicas are paid for plus
`multiplier` times its late requests; one more replica costs its start-up, one less nothing. The multiplier is the price
of a late request, the Lagrange multiplier of a budget of them (Everett 1963, doi 10.1287/opre.11.3.399): whatever
schedule is best at a price is the cheapest of all with as few late requests.

As the price of a start is linear in their number, the best next count is found for all counts at once by two running
minima: O(bins × replicas × waiting times) in all, where choosing among all pairs would be O(replicas²): the two
passes of a distance transform (Felzenszwalb & Huttenlocher 2012, doi 10.4086/toc.2012.v008a019) for a distance that is
linear on one side and free on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Floats32 = NDArray[np.float32]
    Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Problem:
    """Axes: T bins, N counts of replicas (the first is 1), W waiting times.

    `late` (T, N, W): requests of the bin that end late. `after` (T, N, W): waiting time at its end, as a fractional
    index. `paid_seconds` (T): what one replica is paid for in the bin. `start_seconds` (T): what a replica was paid for
    before it served from the bin's start on. `most` (T): replicas that may serve. `grow_to` (T): count that an increase
    at the bin's start may reach.
    """

    late: Floats32
    after: Floats32
    paid_seconds: Floats
    start_seconds: Floats
    most: Counts
    grow_to: Counts


@dataclass(frozen=True, slots=True)
class Plan:
    """`replicas` (T): that serve in each bin. `late`: requests, as the problem has it. `paid_seconds`: replica-seconds,
    start-ups included.
    """

    replicas: Counts
    late: float
    paid_seconds: float


def best_plan(problem: Problem, multiplier: float) -> Plan:
    """The least paid_seconds + multiplier × late. Its first replicas serve from the start and cost no start-up."""
    return _follow(problem, _values(problem, multiplier))


def _values(p: Problem, multiplier: float) -> Floats:
    """(T, N, W): the least cost from a bin on, by the replicas in it and the waiting time at its start."""
    bins, counts, waits = p.late.shape
    n = np.arange(1.0, counts + 1.0)
    row = np.arange(counts)[:, None]
    values = np.empty((bins, counts, waits))
    best = np.zeros((counts, waits))  # the least from the next bin on, by the replicas before its start
    for t in range(bins - 1, -1, -1):
        low, weight = _split(p.after[t], waits)
        ahead = best[row, low]
        ahead += weight * (best[row, low + 1] - ahead)
        here = values[t]
        np.multiply(p.late[t], multiplier, out=here)
        here += ahead
        here += (p.paid_seconds[t] * n)[:, None]
        here[p.most[t] :] = np.inf
        # An increase to n' from n costs start × (n' − n): a running minimum from the right; a decrease is free.
        starts = (p.start_seconds[t] * n)[:, None]
        rising = here + starts
        rising[p.grow_to[t] :] = np.inf
        up = np.minimum.accumulate(rising[::-1], axis=0)[::-1] - starts
        best = np.minimum(up, np.minimum.accumulate(here, axis=0))
    return values


def _split(index: Floats32, size: int) -> tuple[NDArray[np.int64], Floats]:
    """A fractional index as the lower of its two neighbours, and the weight of the upper one."""
    low = np.minimum(index.astype(np.int64), size - 2)
    return low, index.astype(np.float64) - low


def _follow(p: Problem, values: Floats) -> Plan:
    """The schedule that these values advise, from an empty queue on."""
    bins, counts, waits = p.late.shape
    n = np.arange(1.0, counts + 1.0)
    replicas = np.zeros(bins, dtype=np.int64)
    wait = late = paid = 0.0
    for t in range(bins):
        low = min(int(wait), waits - 2)
        weight = wait - low
        cost = values[t, :, low] * (1.0 - weight) + values[t, :, low + 1] * weight if weight else values[t, :, low]
        if t:
            before = int(replicas[t - 1])
            cost = cost + p.start_seconds[t] * np.maximum(0.0, n - before)
            cost[max(before, int(p.grow_to[t])) :] = np.inf
        i = int(cost.argmin())
        replicas[t] = i + 1
        late += float(p.late[t, i, low] * (1.0 - weight) + p.late[t, i, low + 1] * weight)
        wait = float(p.after[t, i, low] * (1.0 - weight) + p.after[t, i, low + 1] * weight)
        added = max(0, i + 1 - int(replicas[t - 1])) if t else 0
        paid += float(p.paid_seconds[t] * n[i] + p.start_seconds[t] * added)
    return Plan(replicas, late, paid)
