"""What the control loop writes for people: measurements, settings, predictions and decision records."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from throughline.api.status import MAX_DECISIONS, Action, Alternative, DecisionRecord, SLOStatus
from throughline.domain.formatting import count, duration, money, number, plain, rate, sticky

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.control.budget import Budget
    from throughline.domain.control.choose import Candidate
    from throughline.domain.control.context import Context
    from throughline.domain.control.demand import Demand
    from throughline.domain.control.service_time_model import ServiceTimeModel

# The demand is shown apart from what arrives where a backlog, or clients held back by latency, make it so much more.
BACKLOG_SHOWN = 1.05


def rfc3339(now_seconds: float) -> str:
    """Whole seconds, UTC, as the Kubernetes API writes times."""
    return datetime.fromtimestamp(int(now_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def unix_seconds(timestamp: str) -> float:
    """The inverse of `rfc3339`; raises ValueError for other text."""
    return datetime.fromisoformat(timestamp).timestamp()


def _cost(per_thousand: float | None) -> str:
    return "-" if per_thousand is None else plain(per_thousand)


# Shown of the error budget, in per cent: steps so coarse that a budget that recovers for hours is written a few times.
BUDGET_STEPS = (0, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000)
BUDGET_HYSTERESIS = 0.1


def _spent(shown: str, budget: Budget) -> str:
    """The nearest step; `shown` while that is nearly as near."""
    if budget.requests <= 0.0:
        return "-"
    percent = 100.0 * budget.spent
    step = min(BUDGET_STEPS, key=lambda s: abs(percent - s))
    if shown != "-" and abs(percent - int(shown[:-1])) <= abs(percent - step) + BUDGET_HYSTERESIS * step:
        return shown
    return f"{step}%"


def slo_status(shown: SLOStatus, demand: Demand, price_per_hour: float, budget: Budget) -> SLOStatus:
    """What is shown of the measurements; the same object while it says the same.

    Without traffic no latency is shown: for a minute after a model was loaded it would be of the operator's own probe.
    """
    cost = None  # unknown without traffic or price
    if demand.arrivals_per_second >= 0.01 and price_per_hour > 0:
        cost = price_per_hour / (demand.arrivals_per_second * 3.6)
    latency = sticky(shown.latency_p99, None if demand.idle else demand.p99_us, duration)
    throughput = sticky(shown.throughput, demand.requests_per_second, rate)
    per_thousand = sticky(shown.cost_per_thousand, cost, _cost)
    spent = _spent(shown.error_budget_spent, budget)
    found = SLOStatus(
        latency_p99=latency, throughput=throughput, cost_per_thousand=per_thousand, error_budget_spent=spent
    )
    return shown if found == shown else found


def settings_text(settings: BatchSettings) -> str:
    """Max batch / queue delay × instances: `32/2ms×2`."""
    delay = settings.max_queue_delay_microseconds
    return f"{settings.max_batch_size}/{duration(delay) if delay else '0'}×{settings.instances}"


def curve_text(curve: ServiceTimeModel) -> str:
    text = f"s(b) = {duration(curve.alpha_us)} + {duration(curve.beta_us)}·b"
    return text + (f", contention {number(curve.contention)}" if curve.contention >= 0.005 else "")


def inputs_text(ctx: Context) -> str:
    """What a decision is made from. Items per second; the target is the demand to provide for."""
    demand = ctx.demand
    if demand is None:
        return ""
    held_back = demand.wanted_per_second > BACKLOG_SHOWN * demand.arrivals_per_second
    return "; ".join(
        (
            f"arriving {rate(demand.arrivals_per_second)}",
            *((f"with backlog {rate(demand.wanted_per_second)}",) if held_back else ()),
            f"target demand {target_demand(ctx)}",
            f"p99 {duration(demand.p99_us)}",
            f"mean {duration(demand.mean_us)}",
            f"in flight {number(demand.in_flight)}",
            f"failing {rate(demand.failures_per_second)}" if demand.failures_per_second else "failing 0",
            f"ready {len(ctx.serving)}/{ctx.view.replicas or 0}",
            curve_text(ctx.curve) if ctx.curve else "service time not learned yet",
        )
    )


def target_demand(ctx: Context) -> str:
    """The demand to provide for, and the field where that is what asks for it."""
    floor = ctx.view.spec.slo.throughput_per_second
    if floor is None or ctx.demand is None or ctx.target_demand > floor * ctx.demand.items_per_request:
        return rate(ctx.target_demand)
    return f"{rate(ctx.target_demand)} (spec.slo.throughputPerSecond)"


def predicted_text(candidate: Candidate) -> str:
    return (
        f"p99 {duration(candidate.p99_us)}, capacity {rate(candidate.capacity_per_second * candidate.replicas)} "
        f"on {count(candidate.replicas, 'replica')}, {money(candidate.cost_per_hour)} per hour"
    )


def alternative(candidate: Candidate, verdict: str) -> Alternative:
    return Alternative(
        settings=candidate.settings,
        replicas=candidate.replicas,
        latency_p99=duration(candidate.p99_us),
        capacity=rate(candidate.capacity_per_second * candidate.replicas),
        cost_per_hour=money(candidate.cost_per_hour),
        verdict=verdict[:128],
    )


def record(
    now_seconds: float,
    action: Action,
    reason: str,
    message: str,
    *,
    inputs: str = "",
    predicted: str = "",
    replicas: int,
    settings: BatchSettings | None = None,
    alternatives: Sequence[Alternative] = (),
) -> DecisionRecord:
    return DecisionRecord(
        time=rfc3339(now_seconds),
        action=action,
        reason=reason,
        message=message[:1024],
        inputs=inputs[:512],
        predicted=predicted[:256],
        replicas=replicas,
        settings=settings,
        alternatives=list(alternatives)[:5],
    )


def with_records(ledger: Sequence[DecisionRecord], new: Sequence[DecisionRecord]) -> list[DecisionRecord]:
    """The decision records, newest first and bounded; holding again for the newest record's reason adds none."""
    result = list(ledger)
    for entry in new:
        if (
            entry.action is Action.HOLD
            and result
            and (result[0].action, result[0].reason) == (entry.action, entry.reason)
        ):
            continue
        result.insert(0, entry)
    return result[:MAX_DECISIONS]
