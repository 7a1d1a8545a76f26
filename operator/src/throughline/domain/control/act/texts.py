"""What the control loop writes for people: measurements, settings, predictions and decision records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.status import Alternative
from throughline.domain.control.tuning import NOISE
from throughline.domain.formatting import count, duration, money, number, rate

if TYPE_CHECKING:
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.model.service_time_model import ServiceTimeModel
    from throughline.domain.control.predict.outcome import Candidate

CONTENTION_SHOWN = 0.005


def curve_text(curve: ServiceTimeModel) -> str:
    text = f"s(b) = {duration(curve.alpha_us)} + {duration(curve.beta_us)}·b"
    return text + (f", contention {number(curve.contention)}" if curve.contention >= CONTENTION_SHOWN else "")


def inputs_text(ctx: Context) -> str:
    """What a decision is made from. Items per second; the target is the demand to provide for."""
    demand = ctx.demand
    if demand is None:
        return ""
    held_back = demand.wanted_per_second > (1.0 + NOISE) * demand.arrivals_per_second
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
            curve_text(ctx.estimates.curve) if ctx.estimates.curve else "service time not learned yet",
        )
    )


def target_demand(ctx: Context) -> str:
    """The demand to provide for, and the field where that is what asks for it."""
    floor = ctx.view.spec.slo.throughput_per_second
    if floor is None or ctx.demand is None or ctx.estimates.target_demand > floor * ctx.demand.items_per_request:
        return rate(ctx.estimates.target_demand)
    return f"{rate(ctx.estimates.target_demand)} (spec.slo.throughputPerSecond)"


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
