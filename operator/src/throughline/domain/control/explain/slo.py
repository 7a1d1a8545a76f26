"""What status.slo shows of the measurements, and of the error budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.status import SLOStatus
from throughline.domain.control.observe.demand import IDLE_PER_SECOND
from throughline.domain.control.tuning import SAME
from throughline.domain.formatting import duration, plain, rate, sticky

if TYPE_CHECKING:
    from throughline.domain.control.estimate.budget import Budget
    from throughline.domain.control.observe.demand import Demand


def _cost(per_thousand: float | None) -> str:
    return "-" if per_thousand is None else plain(per_thousand)


# Shown of the error budget, in per cent: steps so coarse that a budget that recovers for hours is written a few times.
BUDGET_STEPS = (0, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000)


def _spent(shown: str, budget: Budget) -> str:
    """The nearest step; `shown` while that is nearly as near."""
    if budget.requests <= 0.0:
        return "-"
    percent = 100.0 * budget.spent
    step = min(BUDGET_STEPS, key=lambda s: abs(percent - s))
    if shown != "-" and abs(percent - int(shown[:-1])) <= abs(percent - step) + SAME * step:
        return shown
    return f"{step}%"


def slo_status(shown: SLOStatus, demand: Demand, price_per_hour: float, budget: Budget) -> SLOStatus:
    """What is shown of the measurements; the same object while it says the same.

    Without traffic no latency is shown: for a minute after a model was loaded it would be of the operator's own probe.
    """
    cost = None  # unknown without traffic or price
    if demand.arrivals_per_second >= IDLE_PER_SECOND and price_per_hour > 0:
        cost = price_per_hour / (demand.arrivals_per_second * 3600 / 1000)
    latency = sticky(shown.latency_p99, None if demand.idle else demand.p99_us, duration)
    throughput = sticky(shown.throughput, demand.requests_per_second, rate)
    per_thousand = sticky(shown.cost_per_thousand, cost, _cost)
    spent = _spent(shown.error_budget_spent, budget)
    found = SLOStatus(
        latency_p99=latency, throughput=throughput, cost_per_thousand=per_thousand, error_budget_spent=spent
    )
    return shown if found == shown else found
