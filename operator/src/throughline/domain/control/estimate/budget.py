"""The error budget: the share of requests that may be late, what of it was spent lately, and the risk that is left.

A percentile of 99 allows one request in a hundred to be late. A service that spends nothing of that pays for safety
that its SLO does not ask for; one that spends more breaks its SLO. So the chance with which the target demand may be
exceeded follows the spending: large while the budget is unspent, small once it is spent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.model.queueing import TAIL
from throughline.domain.control.tuning import CHANCE, LEAST_CHANCE

if TYPE_CHECKING:
    from throughline.domain.control.observe.demand import Demand


class Budget(NamedTuple):
    """Requests and late ones, with decay; in which window, and later than which SLO."""

    requests: float = 0.0
    late: float = 0.0
    updated_seconds: float | None = None
    window_seconds: float = 0.0
    slo_us: float = 0.0

    @property
    def spent(self) -> float:
        """Of the budget; 1 is all of it. A past shorter than the half-life is taken to have been preceded by its like
        without late requests, so that the first minute decides nothing.
        """
        return self.late / (TAIL * self.requests) if self.requests > 0.0 else 0.0

    @property
    def chance(self) -> float:
        """With which what is provided for may be exceeded while a replica starts."""
        return max(LEAST_CHANCE, 0.5 * math.pow(CHANCE / 0.5, self.spent))

    @property
    def discounted(self) -> float:
        """How much of one event of the past is taken for chance: all of it while the budget is unspent."""
        return max(0.0, 1.0 - self.spent)


def late_share(mean_us: float | None, p99_us: float | None, slo_us: float) -> float | None:
    """Share of the requests beyond the SLO, by an exponential tail through mean and p99; None where they are unknown.

    One request in a hundred is beyond the p99, so P(latency > x) = 0.01 to the power of (x − mean) / (p99 − mean).
    """
    if mean_us is None or p99_us is None:
        return None
    if mean_us >= slo_us:
        return 1.0
    if p99_us <= mean_us:
        return 0.0
    return float(TAIL ** ((slo_us - mean_us) / (p99_us - mean_us)))


def _of(budget: Budget, window_seconds: float, slo_us: float) -> Budget:
    """The budget for that window and SLO: what was late for another SLO says nothing, and in a longer window the same
    share is of more requests.
    """
    if budget.slo_us != slo_us:
        return Budget(updated_seconds=budget.updated_seconds, window_seconds=window_seconds, slo_us=slo_us)
    if budget.window_seconds == window_seconds:
        return budget
    longer = window_seconds / budget.window_seconds
    return budget._replace(requests=longer * budget.requests, late=longer * budget.late, window_seconds=window_seconds)


def spend(budget: Budget, demand: Demand | None, slo_us: float, now_seconds: float, window_seconds: float) -> Budget:
    """The budget with what was served since the last pass. Without a measurement nothing came."""
    budget = _of(budget, window_seconds, slo_us)
    if demand is None or budget.updated_seconds is None:
        return budget._replace(updated_seconds=now_seconds)
    seconds = max(0.0, now_seconds - budget.updated_seconds)
    half_life_seconds = window_seconds / 2
    kept = 0.5 ** (seconds / half_life_seconds)
    share = late_share(demand.mean_us, demand.p99_us, slo_us)
    if share is None:
        return budget._replace(updated_seconds=now_seconds)
    requests = demand.requests_per_second * seconds
    before = budget.requests if budget.requests > 0.0 else demand.requests_per_second * half_life_seconds / math.log(2)
    return Budget(kept * before + requests, kept * budget.late + share * requests, now_seconds, window_seconds, slo_us)
