"""The replicas: up when the demand asks for it, down when fewer have been enough for long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.api.batching import BatchingMode
from throughline.api.scaling import ScalingMode
from throughline.api.status import Action
from throughline.domain.control.act import growth
from throughline.domain.control.act.state import ScaleDownFloor
from throughline.domain.control.act.texts import inputs_text, predicted_text, target_demand
from throughline.domain.control.model.queueing import closed_loop_per_second, p99_us, saturation_per_second
from throughline.domain.control.predict.outcome import answers_clients, evaluate
from throughline.domain.control.tuning import (
    CLEAR,
    HOUR_SECONDS,
    MAX_STEP,
    MAX_WARM_UP_SECONDS,
    NOISE,
    RESPONSE_SECONDS,
    SAME,
    STEP_FACTOR,
)
from throughline.domain.formatting import count, rate
from throughline.domain.records import record

if TYPE_CHECKING:
    from throughline.api.status import DecisionRecord
    from throughline.domain.control.act.batch_step import BatchStep
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.act.state import ActState


class ScaleStep(NamedTuple):
    """`replicas` None: leave the count alone."""

    replicas: int | None
    state: ActState
    records: tuple[DecisionRecord, ...] = ()
    changed: bool = False
    recommended: int | None = None
    needed: int | None = None  # for the demand of now, not bounded; None: unknown
    message: str = ""


def capacity(ctx: Context, batch: BatchStep) -> float:
    """Items per second that one replica is to be trusted with, under the settings of this pass."""
    if ctx.problem is None:
        return 0.0
    found = ctx.problem.capacity_per_second(batch.settings)
    if found > 0:
        return found
    return (1.0 - CLEAR) * saturation_per_second(ctx.problem.curve, batch.settings)


def bounded(ctx: Context, replicas: int) -> int:
    """Within the bounds of spec and pool."""
    low = min(ctx.min_replicas, ctx.observation.max_replicas)
    return min(max(replicas, low, 1), max(ctx.observation.max_replicas, 1))


def _hold(ctx: Context, current: int, needed: int | None = None, message: str = "") -> ScaleStep:
    """Keep what runs; only the user's own bounds and schedules move it."""
    low, high = ctx.min_replicas, ctx.view.spec.scaling.max_replicas
    bounded = min(max(current, low), high)
    # More than the pool can hold is never asked for; what already runs is not taken away for that.
    bounded = min(bounded, max(current, ctx.observation.max_replicas))
    if bounded == current:
        return ScaleStep(current, ctx.state, needed=needed, message=message)
    reason, text = "BoundsChanged", f"spec.scaling now asks for {low} to {high}"
    if ctx.estimates.schedule is not None and bounded == ctx.estimates.schedule.min_replicas:
        reason, text = "Scheduled", f"schedule {ctx.estimates.schedule.name} asks for at least {bounded}"
    entry = record(ctx.now, Action.SCALE, reason, f"{current} → {bounded} replicas: {text}", replicas=bounded)
    return ScaleStep(bounded, ctx.state, (entry,), changed=True, needed=needed)


def _requested(ctx: Context, current: int, replicas: int | None) -> DecisionRecord:
    text = f"{current} → {replicas} replicas: spec.scaling.replicas was set"
    return record(ctx.now, Action.SCALE, "ReplicasRequested", text, replicas=replicas or 0)


def _scale_record(
    ctx: Context, batch: BatchStep, reason: str, text: str, replicas: int, action: Action
) -> DecisionRecord:
    assert ctx.demand is not None  # noqa: S101 - every caller has measured
    predicted = ""
    if ctx.problem is not None:
        spread = ctx.problem._replace(min_replicas=replicas, max_replicas=replicas)
        predicted = predicted_text(evaluate(spread, batch.settings))
    inputs = inputs_text(ctx)
    return record(
        ctx.now, action, reason, text, inputs=inputs, predicted=predicted, replicas=replicas, settings=batch.settings
    )


def _scale_up_blocked_by(ctx: Context, batch: BatchStep, current: int) -> str | None:
    """Why more replicas are not asked for yet although the demand would need them."""
    demand = ctx.demand
    if ctx.estimates.forecast is None and ctx.observation.scaling and demand is not None and demand.saturated:
        return "the last step is still settling, and a saturated server does not show what arrives"
    seen = ctx.largest_batch
    if batch.coming is not None and batch.coming.replicas <= current and not ctx.estimates.slo_violated:
        return "better batch settings are about to come, with which these are enough"
    trial, problem = batch.trial, ctx.problem
    if seen <= 1 and (trial is not None or _batches_come_first(ctx, batch)):
        return "batches are tried for the first time; they cost nothing and come first"
    calm = demand is not None and not (ctx.estimates.slo_violated or growth.overflows(demand))
    if trial is not None and trial.pod is not None and problem is not None and calm:
        needed = evaluate(problem, trial.settings).needed
        if needed is not None and needed <= current:
            return "better settings run as a canary, with which these are enough"
    return growth.blocked_by(ctx, trial)


def _batches_come_first(ctx: Context, batch: BatchStep) -> bool:
    """Whether larger batches may be tried in a moment, and arrivals do not outgrow what is served meanwhile. Not for
    longer than a load may take to warm up.
    """
    began = ctx.observation.state.since_seconds
    if began is None or ctx.now - began > MAX_WARM_UP_SECONDS:
        return False
    batching = ctx.view.spec.batching
    room = batching.mode is BatchingMode.AUTO and batching.max_batch_size.max > ctx.settings.max_batch_size
    return room and batch.deferred and not (ctx.demand is not None and growth.overflows(ctx.demand))


def needs(capacity_per_second: float, demand_per_second: float, margin: float) -> int:
    """Replicas for so much of the demand."""
    if capacity_per_second <= 0:
        return 1
    return max(1, math.ceil(demand_per_second * margin / capacity_per_second - 1e-9))


def _most(ctx: Context, current: int, carried: float) -> int:
    """Replicas that one step may order. What clients who wait for their answers would send shows only once they are
    served, so that each replica for them is judged before the next; what arrives is known.
    """
    demand, problem, forecast = ctx.demand, ctx.problem, ctx.estimates.forecast
    if problem is not None and problem.closed_loop:
        return current + 1
    most = max(STEP_FACTOR * current, current + MAX_STEP)
    if demand is None or forecast is None or demand.given_up:
        return most
    if not (demand.saturated and demand.queue_stationary):
        return most
    return min(most, max(current + 1, needs(carried, forecast.ahead, 1.0 + NOISE)))


def _answered(ctx: Context, batch: BatchStep) -> bool:
    """Whether the clients are closed-loop, and have their answers in time from the replicas that serve."""
    problem = ctx.problem
    if problem is None or ctx.estimates.slo_violated or not problem.closed_loop:
        return False
    closed = closed_loop_per_second(
        problem.curve, batch.settings, problem.in_flight_per_replica, problem.inter_execution_idle_us
    )
    return answers_clients(problem, batch.settings, closed)


def enough(capacity_per_second: float, demand_per_second: float, least: int) -> int:
    """Replicas that would do, and not fewer than `least`. What may run has no part in it: nothing is learned to be
    enough because more was not allowed.
    """
    return max(needs(capacity_per_second, demand_per_second, 1.0 + NOISE), least)


def _needed(ctx: Context, batch: BatchStep, current: int, carried: float) -> tuple[int, int]:
    """(replicas to go up to, replicas that are enough) for what is to be provided for, where one carries that much."""
    if (useless := growth.futile(ctx, current)) is not None:
        return current, max(useless.replicas, ctx.min_replicas)
    up = needs(carried, ctx.estimates.target_demand, 1.0)
    if up > current and _answered(ctx, batch):
        return current, min(current, len(ctx.view.started))
    # A forecast of less is no reason to remove what is in use.
    now = ctx.demand.arrivals_per_second if ctx.demand else 0.0
    return up, enough(carried, max(ctx.estimates.target_demand, now), ctx.min_replicas)


def _scale_up_reduces_latency(ctx: Context, batch: BatchStep, current: int, target: int) -> bool:
    """Whether more replicas make it faster. Where none waits for another, latency has a cause that they do not cure:
    the measured bias then lowers the trusted capacity without end, and every step would ask for the next.
    """
    problem = ctx.problem
    if problem is None:
        return True
    rates = [ctx.estimates.target_demand / n for n in (current, target)]
    utilization = rates[0] / saturation_per_second(problem.curve, batch.settings)
    if not CLEAR < utilization < 0.5:
        return utilization >= 0.5
    before, after = (p99_us(problem.curve, batch.settings, r, problem.dispersion) for r in rates)
    return after < (1.0 - CLEAR) * before


def _reactive(ctx: Context, batch: BatchStep, current: int) -> ScaleStep:
    """Without a learned service time: half as many again while the SLO is missed, once per window."""
    if not ctx.estimates.slo_violated or batch.trial is not None or _scale_up_blocked_by(ctx, batch, current):
        return _hold(ctx, current, message="the service time is not learned yet")
    target = bounded(ctx, current + max(1, current // 2))
    if target <= current:
        return _hold(ctx, current, needed=current + 1)
    text = f"{current} → {target} replicas: latency is over the SLO and the service time is not known"
    entry = _scale_record(ctx, batch, "LatencyOverSLO", text, target, Action.SCALE)
    state = ctx.state._replace(growth=growth.ordered(ctx, ctx.state.growth, current))
    return ScaleStep(target, state, (entry,), changed=True, needed=target)


def _flapped(state: ActState, now: float, wanted: float, target: int) -> ActState:
    """Set a scale-down floor when removed replicas are needed again without more demand."""
    down = state.last_down
    if down is None or now - down[0] > HOUR_SECONDS or wanted > (1.0 + SAME) * down[2]:
        return state
    wait = min(24 * HOUR_SECONDS, 2.0 * state.scale_down_floor.wait_seconds) if state.scale_down_floor else HOUR_SECONDS
    return state._replace(
        scale_down_floor=ScaleDownFloor(min(target, down[1]), now + wait, wanted, wait), last_down=None
    )


def scale_down_floor(state: ActState, now: float, wanted: float) -> int:
    """Replicas that are not to be removed, as fewer were not enough."""
    floor = state.scale_down_floor
    if floor is None or now > floor.until_seconds or wanted < (1.0 - SAME) * floor.demand_per_second:
        return 1
    return floor.replicas


def _auto(ctx: Context, batch: BatchStep, current: int) -> ScaleStep:
    view, demand = ctx.view, ctx.demand
    if demand is None:
        return _hold(ctx, current, message="metrics are not available: holding")
    if ctx.problem is None and not demand.idle:
        return _reactive(ctx, batch, current)
    wanted = ctx.estimates.target_demand
    carried = capacity(ctx, batch)
    up, sufficient = _needed(ctx, batch, current, carried)
    futile = growth.futile(ctx, current)
    window = float(view.spec.scaling.scale_down_stabilization_seconds)
    state = ctx.state.with_needed(ctx.now, sufficient, window)
    if up > current:
        # The most of the window: a number that moves with each sample would be written with each.
        told = max(up, *(n for _, n in state.needed))
        reason = _scale_up_blocked_by(ctx, batch, current)
        if reason is not None:
            return _hold(ctx, current, told, reason)._replace(state=state)
        since = state.shortfall_since if state.shortfall_since is not None else ctx.now
        state = state._replace(shortfall_since=since)
        little = not ctx.estimates.slo_violated and needs(carried, wanted, 1.0 - 2 * NOISE) <= current
        if little and ctx.now - since < RESPONSE_SECONDS:
            return _hold(ctx, current, told, "a little more is needed, as yet for a moment only")._replace(state=state)
        target = bounded(ctx, min(needs(carried, wanted, 1.0 + NOISE), _most(ctx, current, carried)))
        if target <= current:
            return _hold(ctx, current, told)._replace(state=state)
        if not _scale_up_reduces_latency(ctx, batch, current, target):
            text = "latency is over what the prediction explains, and more replicas are predicted to change little"
            return _hold(ctx, current, current, text)._replace(state=state)
        text = f"{current} → {target} replicas: target demand {target_demand(ctx)}, one replica carries {rate(carried)}"
        entry = _scale_record(ctx, batch, "DemandAboveCapacity", text, target, Action.SCALE)
        state = _flapped(state, ctx.now, wanted, target)
        state = state._replace(growth=growth.ordered(ctx, ctx.state.growth, current))
        return ScaleStep(target, state, (entry,), changed=True, needed=up)
    state = state._replace(shortfall_since=None) if state.shortfall_since is not None else state
    lowest = max(scale_down_floor(state, ctx.now, wanted), *(n for _, n in state.needed))
    began = ctx.observation.state.since_seconds
    judged = began is not None and ctx.now - began >= window
    started = min(current, len(view.started))
    calm = (
        judged
        and batch.trial is None
        and (futile is not None or not ctx.estimates.slo_violated)
        and not ctx.estimates.warming_up
        and not (demand.failing or demand.faulty_pods)  # what fails at once is load again, once it does not
        and (futile is not None or demand.p99_us is None or demand.p99_us <= ctx.slo_us)
        and len(ctx.serving) >= started
        and all(p.metrics is not None for p in ctx.serving)
        and ctx.seconds_since(ctx.control.last_scale_change) >= ctx.observation.observe_seconds
    )
    if lowest < current and calm:
        # Kubernetes removes those first that have no node. They carried nothing, so that all of them go at once, alone.
        target = max(lowest, started if started < current else current - max(1, current // 2))
        why = f"{count(lowest, 'replica')} sufficed for {window:.0f} s" if futile is None else futile.found
        reason = "ExcessCapacity"
        if started < current:
            reason, why = "NeverStarted", f"{count(current - target, 'replica')} never started, and {why}"
        else:
            state = state._replace(last_down=(ctx.now, current, wanted) if futile is None else None)
        entry = _scale_record(ctx, batch, reason, f"{current} → {target} replicas: {why}", target, Action.SCALE)
        return ScaleStep(target, state, (entry,), changed=True, needed=up)
    return _hold(ctx, current, up)._replace(state=state)


def step(ctx: Context, batch: BatchStep) -> ScaleStep:
    """The replica count of this pass."""
    view = ctx.view
    mode = view.spec.scaling.mode
    requested = view.spec.scaling.requested_replicas
    if view.replicas is None:
        # A new Deployment starts with the count that was set, with what it had before, or with the least.
        first = bounded(ctx, max(ctx.min_replicas, view.status.replicas.desired))
        return ScaleStep(first if requested is None else requested, ctx.state)
    changed = requested is not None and requested != view.replicas
    if mode is ScalingMode.OFF:
        lines = (_requested(ctx, view.replicas, requested),) if changed else ()
        return ScaleStep(requested, ctx.state, lines, changed=changed, message="spec.scaling.mode is Off")
    if ctx.estimates.cold and ctx.demand is not None and not ctx.demand.idle:
        text = "the model is warming up: its first executions do not tell how fast it is"
        result = _hold(ctx, view.replicas, message=text)
    else:
        result = _auto(growth.judged(ctx), batch, view.replicas)
    if mode is ScalingMode.AUTO:
        return result
    recommended = result.replicas
    records = tuple(
        entry.model_copy(update={"action": Action.RECOMMEND})
        for entry in result.records
        if view.status.replicas.recommended != recommended
    )
    return ScaleStep(
        requested,
        result.state._replace(growth=None),
        (*records, _requested(ctx, view.replicas, requested)) if changed else records,
        changed=changed,
        recommended=recommended,
        needed=result.needed,
        message="spec.scaling.mode is Recommend",
    )
