"""One decision's input, prepared once: measurements, estimates, and the settings in force."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from throughline.api import quantities
from throughline.api.inferenceservice import PlacementStrategy
from throughline.api.status import MAX_POOLS, ControlStatus, PoolKnowledge, ServiceTime
from throughline.domain.control import closed_loop
from throughline.domain.control.analogues import exceeded, highest
from throughline.domain.control.bias import LOOKBACK_SECONDS, default_bias, update_bias
from throughline.domain.control.budget import spend
from throughline.domain.control.choose import Problem, clamp, lower_bounds
from throughline.domain.control.demand import Demand, measure
from throughline.domain.control.forecast import USUAL_SECONDS, ArrivalSample, Forecast, dispersion, forecast
from throughline.domain.control.formatting import unix_seconds
from throughline.domain.control.observations import SUMMARY_SECONDS, recently_started, sampled_seconds, update
from throughline.domain.control.quantise import CLOSED_LOOP_GRID, DEMAND_GRID, IN_FLIGHT_GRID, quantised, rounded
from throughline.domain.control.schedules import scheduled
from throughline.domain.control.season import Season, expected
from throughline.domain.control.service_time_fit import estimate, with_segments
from throughline.domain.control.service_time_model import ServiceTimeModel
from throughline.domain.control.state import ControllerState, with_bias
from throughline.domain.control.watch import SETTLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.schedules import Schedule
    from throughline.domain.control.budget import Budget
    from throughline.domain.observed import PodView, ServiceView

UNLOADED_SECONDS = 45.0
# What closed-loop clients are to be given of what they get, by the prediction, which may be wrong by as much.
CLOSED_LOOP_KEEP = 0.75
# In-flight requests have converged when they are this near to their smoothed mean.
CONVERGED = 0.2
# Estimates are persisted again only when they have moved by more than this.
LEARNED_NOISE = 0.08
BIAS_NOISE = 0.15
# Arrivals this near to those of calm times are open-loop, which no latency holds back; so are those of which more than
# this share is given up, since closed-loop clients do not give up and come again.
SAME_OPEN_LOOP = 0.1
GIVEN_UP = 0.02
# A load whose slow executions cost more is made alone: it is judged before the next, and on one pod before the others.
COSTLY_SECONDS = 5.0
# Between two samples of a calm service.
SAMPLE_INTERVAL_SECONDS = USUAL_SECONDS


class Context(NamedTuple):
    """As it is handed on: nothing in it changes any more."""

    view: ServiceView
    state: ControllerState
    control: ControlStatus
    demand: Demand | None
    curve: ServiceTimeModel | None
    problem: Problem | None
    settings: BatchSettings  # in force, within the bounds
    slo_us: float
    max_replicas: int  # of spec and pool: growth ends there; what already runs in the pool stays
    price_per_hour: float
    serving: tuple[PodView, ...]
    fitted: ServiceTimeModel | None = None  # the curve before it was rounded
    schedule: Schedule | None = None  # in force
    forecast: Forecast | None = None
    target_demand: float = 0.0  # items per second

    @property
    def min_replicas(self) -> int:
        """Of spec.scaling, and of its schedules while they are in force."""
        least = self.view.spec.scaling.min_replicas
        return least if self.schedule is None else max(least, self.schedule.min_replicas)

    @property
    def now(self) -> float:
        return self.view.now_seconds

    @property
    def observe_seconds(self) -> float:
        """How long after a change the measurements are of what is now."""
        return self.view.metrics_window_seconds + SETTLE_SECONDS

    @property
    def scaling(self) -> bool:
        """Replicas were ordered so lately that the measurements do not show yet what they do."""
        starting = len(self.serving) < (self.view.replicas or 0)
        return starting or self.seconds_since(self.control.last_scale_change) < self.observe_seconds

    @property
    def rollout_complete(self) -> bool:
        """Every serving pod was seen to have the settings in force."""
        settings = self.settings
        for pod in self.serving:
            if pod.settings is not settings and pod.settings != settings:
                return False
        return bool(self.serving)

    @property
    def in_flight_converged(self) -> bool:
        """In-flight requests have been stable over the last few samples."""
        demand, ready, mean = self.demand, max(1, len(self.serving)), self.state.in_flight
        return demand is not None and mean is not None and abs(demand.in_flight / ready - mean) <= CONVERGED * mean

    @property
    def slo_violated(self) -> bool:
        """The SLO is missed now: by the latency summary once it covers only the present, or by overload."""
        d = self.demand
        if d is None:
            return False
        if d.overloaded:
            return True
        return d.p99_us is not None and d.p99_us > self.slo_us and self.soak_elapsed

    @property
    def short(self) -> bool:
        """More comes now than the replicas that are ordered are trusted with: by the metrics window, or by the samples,
        where load has come since the window began.
        """
        if self.demand is None or self.demand.saturated or self.problem is None or self.forecast is None:
            return self.demand is not None and self.demand.saturated
        return self.forecast.now > self.problem.capacity_per_second(self.settings) * (self.view.replicas or 0)

    @property
    def soak_elapsed(self) -> bool:
        """Nothing has been changed for as long as the latency summary looks back."""
        since = self.state.settings_since
        if since is None or self.warming_up:
            return False
        # The calm is seen by means over the metrics window, so its first requests lie that much before the summary's.
        return self.now - max(since[1], self.warm_since) >= SUMMARY_SECONDS + self.observe_seconds

    @property
    def warming_up(self) -> tuple[str, ...]:
        """Names of serving pods with traffic that are still warming up after the last load."""
        found, seen = [], self.state.estimator.seen
        for pod in self.serving:
            reported = seen.get(pod.uid)
            if reported is None or reported.warm_up is None or not reported.warm_up.under_way(self.now):
                continue
            if pod.metrics is None or pod.metrics.success_rate > 0 or pod.metrics.pending > 0:
                found.append(pod.name)
        return tuple(found)

    @property
    def cold(self) -> bool:
        """All pods that have reported executions are warming up: their speed is unknown now."""
        reported = sum(p.uid in self.state.estimator.seen for p in self.serving)
        return reported > 0 and len(self.warming_up) == reported

    @property
    def warm_since(self) -> float:
        """When the last of the serving pods had its slow executions behind it, as far as was seen."""
        seen = self.state.estimator.seen
        return max((seen[p.uid].warm_since for p in self.serving if p.uid in seen), default=-math.inf)

    @property
    def load_seconds(self) -> float:
        """What a load of the model costs: how much longer its first executions take, in all, than later ones."""
        cost = self.state.estimator.warm_up_seconds
        return self.control.load_seconds if cost is None else cost

    @property
    def costly(self) -> bool:
        return self.load_seconds > COSTLY_SECONDS

    @property
    def at_usual_speed(self) -> bool:
        """The node runs as fast as when the model's cost was learned, for as long as the latency summary looks back."""
        speed = self.state.estimator.speed
        return speed.usual and self.now - speed.moved_seconds >= LOOKBACK_SECONDS

    @property
    def unloaded(self) -> tuple[str, ...]:
        """Pods that the load has not reached for longer than connections take to be renewed a few times."""
        return tuple(n for n, since in self.state.unloaded_since.items() if self.now - since >= UNLOADED_SECONDS)

    def seconds_since(self, timestamp: str | None) -> float:
        return math.inf if timestamp is None else self.now - unix_seconds(timestamp)


@lru_cache(maxsize=1024)
def price_of(cost_per_hour: str) -> float:
    return float(quantities.parse(cost_per_hour))


def _differs(a: int, b: int, noise: float) -> bool:
    return abs(a - b) > noise * max(a, b, 1)


def bias_is_kept(old: ServiceTime | None, bias: float) -> bool:
    """Whether the persisted bias says the same."""
    return old is not None and not _differs(old.error_permille, round(1000 * bias), BIAS_NOISE)


def persisted(old: ServiceTime | None, new: ServiceTime | None) -> ServiceTime | None:
    """What to persist: the old estimate while the new one says the same."""
    if old is None or new is None:
        return new
    if (
        not _differs(old.alpha_microseconds, new.alpha_microseconds, LEARNED_NOISE)
        and not _differs(old.beta_microseconds, new.beta_microseconds, LEARNED_NOISE)
        and abs(old.contention_permille - new.contention_permille) <= 100
        and bias_is_kept(old, new.error_permille / 1000)
        and old.largest_batch == new.largest_batch
        and (old.executions > 0) == (new.executions > 0)
    ):
        return old
    return new


def on_pool(control: ControlStatus, pool: str, *, assume: bool) -> ControlStatus:
    """What is known on another pool: what was learned there before. `assume`: a pool that was never tried is taken to
    be as fast as the one before, of no execution, until it has shown.
    """
    here = control.service_time
    known = next((k.service_time for k in control.pools if k.name == pool), None)
    left = [k for k in control.pools if k.name not in {pool, control.pool}]
    if here is not None and here.executions > 0 and control.pool:
        left.append(PoolKnowledge(name=control.pool, service_time=here))
    if known is None and here is not None and assume:
        known = here.model_copy(update={"executions": 0})
    return ControlStatus(
        pool=pool, model_hash=control.model_hash, service_time=known, last_move=control.last_move,
        pools=left[-MAX_POOLS:], proven_batch=control.proven_batch,
        rejected=[r for r in control.rejected if r.until is None],
    )  # fmt: skip


def build_context(view: ServiceView, state: ControllerState) -> tuple[Context, ServiceTime | None]:
    """The context of the decision, and what is known of the service time now."""
    control = view.status.control
    pool_name = view.pool.name if view.pool else control.pool
    if state.model_hash != view.model_hash:
        state = ControllerState()
    if state.pool != pool_name:
        state = state.on_pool(pool_name) if state.pool else state._replace(pool=pool_name)
    if control.model_hash != view.model_hash:
        # Another model: estimates do not hold, the settings in force still do.
        control = ControlStatus(pool=pool_name, model_hash=view.model_hash)
    elif control.pool != pool_name:
        control = on_pool(control, pool_name, assume=view.spec.placement.strategy is PlacementStrategy.CHEAPEST)
    batching = view.spec.batching
    if batching.mode == "Fixed" and batching.fixed is not None:
        settings = batching.fixed
    else:
        settings = clamp(view.settings or view.status.batch.settings or lower_bounds(batching), batching)
    slo_us = view.spec.slo.latency_p99_milliseconds * 1000.0
    serving = view.serving
    demand = None if view.metrics_unavailable else measure(view, slo_us)
    since_last = sampled_seconds(view) - (state.metrics_time_seconds or sampled_seconds(view))
    state = update(view, serving, state, demand, settings)
    state = state._replace(budget=spend(state.budget, demand, slo_us, view.now_seconds))
    # `update` may have learned from this sample already; the persisted estimate fills in what it has not seen.
    learned = estimate(state.estimator.totals, state.estimate or control.service_time)
    max_replicas = view.spec.scaling.max_replicas
    if view.pool and view.pool.capacity_replicas is not None:
        max_replicas = min(max_replicas, max(view.pool.capacity_replicas, view.held, 1))
    price = price_of(view.pool.spec.cost_per_hour) if view.pool else 0.0
    schedule = scheduled(view.spec.scaling.schedules, view.now_seconds, state.start_seconds)
    context = Context(
        view, state, control, demand, None, None, settings, slo_us, max_replicas, price, serving, schedule=schedule
    )
    if learned is None or demand is None:
        return context._replace(state=state._replace(estimate=learned)), learned
    return _build_problem(context, demand, learned, since_last)


def forecast_demand(
    demand: Demand, samples: Sequence[ArrivalSample], season: Season, horizon_seconds: float, floor_per_second: float,
    *, scaling: bool, calm_per_second: float | None = None, budget: Budget | None = None,
) -> tuple[Forecast | None, float]:  # fmt: skip
    """The forecast, and the target demand in items per second. `scaling`: replicas were just ordered. `budget`: of
    late requests; None: demand follows from how it is served, so that its past says nothing.
    """
    held_back = max(0.0, demand.wanted_per_second - demand.arrivals_per_second)
    # The arrivals at overloaded servers are of a backlog, too: the past does not bound them.
    past = season.bins[:-1] if budget is not None and not demand.overloaded else ()
    seen = forecast(samples, horizon_seconds, highest(past)) if samples else None
    if seen is not None and budget is not None and not demand.idle:
        chance, discounted = budget.chance, budget.discounted
        seen = seen.at_least(exceeded(past, seen.now, horizon_seconds, chance=chance, discounted=discounted))
    if seen is not None and (again := expected(season, samples[-1].at_seconds, horizon_seconds)) is not None:
        seen = seen.at_least(again)
    coming = demand.wanted_per_second
    if seen is not None:
        # A backlog, and clients held back by latency, are not in the arrivals. Replicas that were just ordered are for
        # those; what still arrives beyond is measured.
        unmoved = calm_per_second is not None and abs(seen.now - calm_per_second) <= SAME_OPEN_LOOP * calm_per_second
        given_up = demand.cancelled_per_second > GIVEN_UP * demand.requests_per_second
        open_loop = demand.queue_stationary and (unmoved or given_up)
        coming = seen.ahead + (0.0 if scaling or open_loop else held_back)
    # Recently started pods, or a queue, make the load look uneven.
    skew = 1.0 if scaling or demand.saturated else demand.skew
    return seen, max(coming * skew, floor_per_second * demand.items_per_request)


def _build_problem(
    context: Context, demand: Demand, learned: ServiceTime, since_last: float
) -> tuple[Context, ServiceTime]:
    """The context with the problem that is to be solved."""
    view, state, settings, ready = context.view, context.state, context.settings, len(context.serving)
    before = state.problem
    slowdown = state.estimator.speed.slowdown
    fitted = with_segments(state.estimator.totals, ServiceTimeModel.of(learned, view.devices)).slowed(slowdown)
    curve = rounded(fitted, before.curve if before else None)
    disp = dispersion(state.samples, before.dispersion if before else 0.0)
    biases = state.biases
    known_bias = state.bias_of(settings)
    bias = default_bias(biases, learned) if known_bias is None else known_bias
    if context.soak_elapsed and context.rollout_complete and context.at_usual_speed:
        measured = update_bias(bias, demand, context.slo_us, fitted, settings, disp, ready, since_last, state.samples)
        if measured != bias:  # only what was measured is kept: a guess is no experience
            bias = measured
            biases = with_bias(biases, settings, bias)
    if learned.error_permille != round(1000 * bias):
        learned = learned.model_copy(update={"error_permille": round(1000 * bias)})
    if since_last > 0:
        trial = context.control.trial
        tried = trial.settings if trial is not None and trial.pod is not None else None
        state = closed_loop.update(state, context.now, demand, curve, settings, ready, context.observe_seconds, tried)
    waiting = state.closed_loop_samples >= closed_loop.CLOSED_LOOP_SAMPLES
    horizon_seconds = 0.0 if recently_started(context.serving) else state.start_seconds + SAMPLE_INTERVAL_SECONDS
    floor = float(view.spec.slo.throughput_per_second or 0)
    seen, ahead = forecast_demand(
        demand, state.samples, state.season, horizon_seconds, floor,
        scaling=context.scaling, calm_per_second=state.calm_per_second, budget=None if waiting else state.budget,
    )  # fmt: skip
    least = max(floor * demand.items_per_request, CLOSED_LOOP_KEEP * demand.served_per_second)
    calm = state.calm_per_second if seen is None or demand.saturated else seen.now
    old_biases = dict(before.biases) if before else {}
    problem = Problem(
        curve=curve,
        slo_us=context.slo_us,
        demand_per_second=quantised(ahead, DEMAND_GRID, before.demand_per_second if before else 0.0),
        in_flight_per_replica=quantised(
            max(1.0, demand.in_flight / max(1, ready) if waiting else state.in_flight or 1.0),
            CLOSED_LOOP_GRID if waiting else IN_FLIGHT_GRID,
            before.in_flight_per_replica if before else 0.0,
        ),
        biases=tuple((s, quantised(e, before=old_biases.get(s, 0.0))) for s, e in biases),
        # What makes the present settings slower than predicted is expected of others, too: optimism moves nothing.
        default_bias=quantised(max(bias, default_bias(biases, learned)), before=before.default_bias if before else 0.0),
        dispersion=disp,
        price_per_hour=context.price_per_hour,
        max_replicas=context.max_replicas,
        min_replicas=min(context.min_replicas, context.max_replicas),
        closed_loop=waiting,
        inter_execution_idle_us=quantised(
            state.inter_execution_idle_us, IN_FLIGHT_GRID, before.inter_execution_idle_us if before else 0.0
        ),
        replicas=ready if waiting else 0,
        floor_per_second=quantised(least, DEMAND_GRID, before.floor_per_second if before else 0.0) if waiting else 0.0,
    )
    state = state._replace(
        estimate=learned,
        biases=biases,
        problem=problem,
        calm_per_second=calm,
    )
    return context._replace(
        state=state, curve=curve, fitted=fitted, problem=problem, forecast=seen, target_demand=ahead
    ), learned
