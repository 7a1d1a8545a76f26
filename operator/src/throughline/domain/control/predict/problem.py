"""Predict: the problem of this pass, by the estimates; rounded, so that noise makes no new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.control.estimate.quantise import quantised
from throughline.domain.control.predict.outcome import Problem
from throughline.domain.control.tuning import CLEAR, NOISE, SAME

if TYPE_CHECKING:
    from throughline.domain.control.estimate.estimates import Estimates
    from throughline.domain.control.observe.observation import Observation


def min_replicas(observation: Observation, estimates: Estimates) -> int:
    """Of spec.scaling, and of its schedules while they are in force."""
    least = observation.view.spec.scaling.min_replicas
    return least if estimates.schedule is None else max(least, estimates.schedule.min_replicas)


def problem(observation: Observation, estimates: Estimates, before: Problem | None) -> Problem | None:
    """What is to be solved; None: there are no metrics, or the service time is not known. `before`: the last one, whose
    numbers stay until the measured ones have left them.
    """
    demand, learned, curve, state = observation.demand, estimates.learned, estimates.curve, estimates.state
    if demand is None or learned is None or curve is None:
        return None
    ready, clients = len(observation.serving), state.closed_loop
    floor = float(observation.view.spec.slo.throughput_per_second or 0)
    least = max(floor * demand.items_per_request, (1.0 - CLEAR) * demand.served_per_second)
    old_biases, old_spreads = (dict(before.biases), dict(before.spreads)) if before else ({}, {})
    in_flight = demand.in_flight / max(1, ready) if clients.sure else state.in_flight or 1.0
    bias = state.bias
    return Problem(
        curve=curve,
        slo_us=observation.slo_us,
        demand_per_second=quantised(estimates.target_demand, NOISE, before.demand_per_second if before else 0.0),
        in_flight_per_replica=quantised(
            max(1.0, in_flight),
            NOISE if clients.sure else SAME if clients.possible else CLEAR,
            before.in_flight_per_replica if before else 0.0,
        ),
        spreads=tuple(
            (e.settings, quantised(bias.spread_of(e.settings), CLEAR, old_spreads.get(e.settings, 0.0)))
            for e in bias.own
        ),
        biases=tuple(
            (e.settings, quantised(bias.of(e.settings), before=old_biases.get(e.settings, 0.0))) for e in bias.own
        ),
        default_bias=quantised(bias.of_untried(observation.settings), before=before.default_bias if before else 0.0),
        dispersion=state.dispersion,
        price_per_hour=observation.price_per_hour,
        max_replicas=observation.max_replicas,
        min_replicas=min(min_replicas(observation, estimates), observation.max_replicas),
        closed_loop=clients.sure,
        may_be_closed_loop=clients.possible,
        inter_execution_idle_us=quantised(
            state.inter_execution_idle_us, CLEAR, before.inter_execution_idle_us if before else 0.0
        ),
        replicas=ready if clients.sure else 0,
        floor_per_second=quantised(least, NOISE, before.floor_per_second if before else 0.0) if clients.sure else 0.0,
    )
