"""Estimate: what an observation, and all before it, say of the model, the node, the clients and the arrivals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.estimate import closed_loop, season, service_time
from throughline.domain.control.estimate.arrivals import forecast_demand, with_new_sample
from throughline.domain.control.estimate.bias import LOOKBACK_SECONDS, Bias, update_bias
from throughline.domain.control.estimate.budget import Budget, spend
from throughline.domain.control.estimate.closed_loop import ClosedLoop
from throughline.domain.control.estimate.forecast import dispersion
from throughline.domain.control.estimate.quantise import rounded
from throughline.domain.control.estimate.schedules import scheduled
from throughline.domain.control.estimate.season import Season
from throughline.domain.control.estimate.service_time import ServiceTimeEstimator
from throughline.domain.control.estimate.service_time_fit import estimate as fitted_service_time
from throughline.domain.control.estimate.service_time_fit import with_segments
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.observation import SUMMARY_SECONDS, recently_started, teaching
from throughline.domain.control.tuning import (
    LASTING_SECONDS,
    MIN_SAMPLE_SECONDS,
    SAMPLE_INTERVAL_SECONDS,
    SETTLE_SECONDS,
    SETTLED_SECONDS,
    SMOOTHING,
)

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.api.schedules import Schedule
    from throughline.api.status import ServiceTime
    from throughline.domain.control.estimate.forecast import ArrivalSample, Forecast
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.control.observe.observation import Observation


class EstimatorState(NamedTuple):
    """What the estimates need of the observations before. Written by `estimate`, and by the fast path in its place."""

    # What every sample changes, in the order of `after_fast_path`.
    samples: tuple[ArrivalSample, ...] = ()  # arrivals from sample to sample, oldest first
    bias: Bias = Bias()
    in_flight: float | None = None  # items at the server, of one replica, smoothed
    budget: Budget = Budget()  # of late requests
    # What only a full pass changes.
    service_times: ServiceTimeEstimator = ServiceTimeEstimator()
    learned: ServiceTime | None = None  # the newest; status.control has the last one that was worth writing
    curve: ServiceTimeModel | None = None  # the last one: its rounded numbers stay until the measured ones left them
    dispersion: float = 0.0  # of the arrivals, rounded likewise
    season: Season = Season()  # the arrivals' period
    calm_per_second: float | None = None  # items that arrived, when last no server was saturated
    ordered_seconds: float | None = None  # when replicas were ordered that are not ready yet
    start_seconds: float = SETTLED_SECONDS  # from the order to a ready replica, as last seen
    inter_execution_idle_us: float = 0.0  # between two executions of one instance that has enough to do; smoothed
    closed_loop: ClosedLoop = ClosedLoop()

    def after_fast_path(
        self, samples: tuple[ArrivalSample, ...], bias: Bias, in_flight: float | None, budget: Budget
    ) -> EstimatorState:
        """As `_replace`, which takes four times as long: it asks for each of the fields."""
        return EstimatorState._make((samples, bias, in_flight, budget, *self[4:]))

    def on_pool(self) -> EstimatorState:
        """On another pool. The arrivals, and the start time of a replica, are known; the service time is not."""
        return EstimatorState(
            samples=self.samples, season=self.season, budget=self.budget, calm_per_second=self.calm_per_second,
            start_seconds=self.start_seconds,
        )  # fmt: skip


class Estimates(NamedTuple):
    """What is estimated in one pass. The service time, and all that follows of it, is None until it is known."""

    state: EstimatorState
    schedule: Schedule | None  # that asks for replicas when one ordered now is ready
    warming_up: tuple[str, ...]  # names of serving pods with traffic that are still warming up after the last load
    cold: bool  # all pods that have reported executions are warming up: their speed is unknown now
    warm_since: float  # when the last of the serving pods had its slow executions behind it, as far as was seen
    load_seconds: float  # what a load costs: how much longer the first executions take, in all, than later ones
    # The node runs as fast as when the model's cost was learned, for as long as the latency summary looks back.
    at_usual_speed: bool
    # Nothing has been changed for as long as the latency summary looks back.
    soak_elapsed: bool
    # The SLO is missed now: by the latency summary once it covers only the present, or by overload.
    slo_violated: bool
    curve: ServiceTimeModel | None = None
    fitted: ServiceTimeModel | None = None  # the curve before it was rounded
    forecast: Forecast | None = None
    target_demand: float = 0.0  # items per second

    @property
    def learned(self) -> ServiceTime | None:
        return self.state.learned

    @property
    def costly(self) -> bool:
        return self.load_seconds > SETTLE_SECONDS


def smoothed(before: float | None, in_flight: float, ready: int) -> float:
    """`EstimatorState.in_flight` with a sample."""
    per_replica = in_flight / max(1, ready)
    return per_replica if before is None else before + SMOOTHING * (per_replica - before)


def _started(state: EstimatorState, observation: Observation) -> tuple[float | None, float]:
    """(`ordered_seconds`, `start_seconds`): learn how long replicas take from their order until they serve."""
    ordered, start, replicas = state.ordered_seconds, state.start_seconds, observation.view.replicas
    if replicas is not None and len(observation.serving) < replicas:
        return observation.now if ordered is None else ordered, start
    if ordered is None:
        return None, start
    took = min(max(observation.now - ordered, MIN_SAMPLE_SECONDS), LASTING_SECONDS)
    return None, (start + took) / 2


def _with_observation(state: EstimatorState, observation: Observation, worse: BatchSettings | None) -> EstimatorState:
    """With what can be taken in as it is seen."""
    demand, idle_us, known_us = observation.demand, observation.idle_us, state.inter_execution_idle_us
    if idle_us is not None:
        known_us = known_us + SMOOTHING * (idle_us - known_us) if known_us else idle_us
    in_flight = state.in_flight
    if demand is not None and observation.new_metrics:
        in_flight = smoothed(in_flight, demand.in_flight, len(observation.serving))
    here, failing = teaching(observation)
    ordered, start = _started(state, observation)
    samples = with_new_sample(state.samples, observation)
    service_times = service_time.observe(state.service_times, here, observation.now, failing)
    return state._replace(
        samples=samples,
        bias=state.bias if worse is None else state.bias.worse(worse),
        in_flight=in_flight,
        budget=spend(
            state.budget, demand, observation.slo_us, observation.now, observation.view.spec.slo.budget_window_seconds
        ),
        service_times=service_times,
        # What was seen just now is in the sums; the persisted estimate fills in what they have not.
        learned=fitted_service_time(service_times.totals, state.learned or observation.control.service_time),
        season=season.learn(state.season, samples),
        ordered_seconds=ordered,
        start_seconds=start,
        inter_execution_idle_us=known_us,
    )


def _warming_up(observation: Observation, service_times: ServiceTimeEstimator) -> tuple[tuple[str, ...], bool, float]:
    """(`warming_up`, `cold`, `warm_since`) of `Estimates`."""
    found, reported, since = [], 0, -math.inf
    for pod in observation.serving:
        tracked = service_times.pods.get(pod.uid)
        if tracked is None:
            continue
        reported += 1
        since = max(since, tracked.warm_since)
        if tracked.warm_up is None or not tracked.warm_up.under_way(observation.now):
            continue
        if pod.metrics is None or pod.metrics.success_rate > 0 or pod.metrics.pending > 0:
            found.append(pod.name)
    return tuple(found), reported > 0 and len(found) == reported, since


def _violated(demand: Demand | None, slo_us: float, *, soak_elapsed: bool) -> bool:
    if demand is None:
        return False
    return demand.overloaded or (demand.p99_us is not None and demand.p99_us > slo_us and soak_elapsed)


def estimate(observation: Observation, state: EstimatorState, *, worse: BatchSettings | None = None) -> Estimates:
    """The estimates after this observation, with the state for the next. `worse`: settings that were rolled back since
    the last.
    """
    view, demand, now = observation.view, observation.demand, observation.now
    state = _with_observation(state, observation, worse)
    times, since = state.service_times, observation.state.settings_since
    warming_up, cold, warm_since = _warming_up(observation, times)
    # The calm is seen by means over the metrics window, so its first requests lie that much before the summary's.
    soak_elapsed = (
        since is not None
        and not warming_up
        and now - max(since[1], warm_since) >= SUMMARY_SECONDS + observation.observe_seconds
    )
    found = Estimates(
        state=state,
        schedule=scheduled(view.spec.scaling.schedules, now, state.start_seconds),
        warming_up=warming_up,
        cold=cold,
        warm_since=warm_since,
        load_seconds=observation.control.load_seconds if times.warm_up_seconds is None else times.warm_up_seconds,
        at_usual_speed=times.speed.usual and now - times.speed.moved_seconds >= LOOKBACK_SECONDS,
        soak_elapsed=soak_elapsed,
        slo_violated=_violated(demand, observation.slo_us, soak_elapsed=soak_elapsed),
    )
    if state.learned is None or demand is None:
        return found
    return _with_service_time(found, observation, demand, state.learned)


def _with_service_time(
    estimates: Estimates, observation: Observation, demand: Demand, learned: ServiceTime
) -> Estimates:
    """With all that follows of the service time: curve, bias, kind of clients, and the forecast."""
    view, state, settings, ready = observation.view, estimates.state, observation.settings, len(observation.serving)
    totals, slowdown = state.service_times.totals, state.service_times.speed.slowdown
    fitted = with_segments(totals, ServiceTimeModel.of(learned, view.devices)).slowed(slowdown)
    curve, disp = rounded(fitted, state.curve), dispersion(state.samples, state.dispersion)
    bias, seconds = state.bias.known_from(learned), observation.metrics_seconds
    if estimates.soak_elapsed and observation.rollout_complete and estimates.at_usual_speed:
        bias = update_bias(
            bias, demand, observation.slo_us, fitted, settings, disp, ready, seconds, state.samples,
            observation.now,
        )  # fmt: skip
    permille = round(1000 * bias.of(settings))
    if learned.error_permille != permille:
        learned = learned.model_copy(update={"error_permille": permille})
    clients = state.closed_loop
    if seconds > 0:
        trial = observation.control.trial
        tried = trial.settings if trial is not None and trial.pod is not None else None
        clients = closed_loop.update(
            clients, observation.now, demand, curve, settings, ready, observation.observe_seconds, tried
        )
    horizon_seconds = 0.0
    if not recently_started(observation.serving):
        horizon_seconds = state.start_seconds + SAMPLE_INTERVAL_SECONDS
    seen, target = forecast_demand(
        demand, state.samples, state.season, horizon_seconds, float(view.spec.slo.throughput_per_second or 0),
        scaling=observation.scaling, calm_per_second=state.calm_per_second,
        budget=None if clients.sure else state.budget,
    )  # fmt: skip
    calm = state.calm_per_second if seen is None or demand.saturated else seen.now
    state = state._replace(
        bias=bias, learned=learned, curve=curve, dispersion=disp, calm_per_second=calm, closed_loop=clients
    )
    return estimates._replace(state=state, curve=curve, fitted=fitted, forecast=seen, target_demand=target)
