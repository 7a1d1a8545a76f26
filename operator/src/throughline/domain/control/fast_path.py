"""The fast path of a calm service: whether the decision of the last full pass still holds.

A full pass learns from every row of the servers' statistics, weighs settings, and writes what is to be shown. When it
ends with nothing to do, it leaves the basis of its decision in the state. The fast path measures the demand, counts
arrivals, forecasts and updates the bias by the same functions; where everything stays in the cells of the full pass's
rounding, that pass would solve the same problem again, so its decision is given again. Anything else is for a full
pass, at once: another spec, status, pod or setting; a queue, latency near its limit, a jump, replicas too many or too
few; executions that take longer or shorter than estimated. The counters are cumulative, so the next full pass, after
`MEMORY_SECONDS` at the latest, learns all that came meanwhile.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from throughline.api.batching import BatchingMode
from throughline.api.scaling import ScalingMode
from throughline.domain.control.act import scaling
from throughline.domain.control.act.state import needed_since
from throughline.domain.control.estimate.arrivals import arrived, forecast_demand, with_sample
from throughline.domain.control.estimate.bias import tells_of_bias, update_bias
from throughline.domain.control.estimate.budget import spend
from throughline.domain.control.estimate.closed_loop import is_closed_loop, waits
from throughline.domain.control.estimate.estimates import smoothed
from throughline.domain.control.estimate.forecast import dispersion
from throughline.domain.control.estimate.learned import bias_is_kept
from throughline.domain.control.estimate.quantise import quantised
from throughline.domain.control.explain.slo import slo_status
from throughline.domain.control.observe.counters import Counted, Seen, Since, queued_since
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.observe.observation import queue, sampled_seconds
from throughline.domain.control.state import Stable
from throughline.domain.control.tuning import (
    CLEAR,
    MEMORY_SECONDS,
    MIN_SAMPLE_SECONDS,
    NOISE,
    SAME,
    SAMPLE_INTERVAL_SECONDS,
    SETTLED_SECONDS,
)
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.domain.control.act.act import Acted
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.estimate.bias import Bias
    from throughline.domain.control.estimate.budget import Budget
    from throughline.domain.control.estimate.estimates import EstimatorState
    from throughline.domain.control.estimate.forecast import ArrivalSample
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.control.state import ControllerState
    from throughline.domain.decision import Decision
    from throughline.domain.observed import PodView, ServiceView


def stable(ctx: Context, acted: Acted, decision: Decision) -> Stable | None:
    """What the fast path may decide after this pass; None: the next must be full, too."""
    view, demand, problem, batch, scale = ctx.view, ctx.demand, ctx.problem, acted.batch, acted.scale
    seen, estimates, done = ctx.observation, ctx.estimates, acted.state
    if decision.records or decision.reloads or batch.changed or scale.changed or batch.trial is not None:
        return None
    judged, fixed = batch.judged, view.spec.batching.mode is BatchingMode.FIXED
    if (judged is None and not fixed) or view.spec.scaling.mode is not ScalingMode.AUTO:
        return None
    if view.spec.scaling.schedules or view.pools:
        return None  # what the clock alone can change, and what is elsewhere, is for full passes
    fitted = estimates.fitted
    if demand is None or problem is None or fitted is None or view.replicas is None or view.settings != ctx.settings:
        return None
    moving = (
        done.shortfall_since is not None
        or seen.state.unloaded_since
        or estimates.state.closed_loop.samples
        or estimates.state.closed_loop.undecided
        or estimates.state.service_times.doubts.rows
        or (done.growth is not None and done.growth.moves(view.replicas))
        or estimates.state.ordered_seconds is not None
        or not estimates.soak_elapsed
        or estimates.warming_up
        or not seen.rollout_complete
        or not estimates.at_usual_speed
        or seen.scaling
        or len(ctx.serving) != view.replicas
        or view.replicas > seen.max_replicas
        or any(p.terminating for p in view.pods)  # they serve a part that is not counted
        or any(p.metrics is None or p.ready_seconds < SETTLED_SECONDS for p in ctx.serving)
    )
    if moving or not _calm(demand, ctx.slo_us):
        return None
    return Stable(
        decision=decision,
        until_seconds=min((_due(view), *(unix_seconds(r.until) for r in batch.rejected if r.until))),
        spec=view.spec,
        pool=view.pool,
        settings=ctx.settings,
        replicas=view.replicas,
        window_seconds=view.metrics_window_seconds,
        memory_limited=view.memory_limited,
        pods=tuple(p.uid for p in ctx.serving),
        problem=problem,
        fitted=fitted,
        demand=(0.0, math.inf) if judged is None else (judged.low_per_second, judged.high_per_second),
        capacity_per_second=scaling.capacity(ctx, batch),
        least=ctx.min_replicas,
        means_us={
            batch: total.mean_us
            for (k, batch), total in estimates.state.service_times.totals.items()
            if k == ctx.settings.instances
        },
    )


def _due(view: ServiceView) -> float:
    """When the next full pass is due. Each service has its own second of every `MEMORY_SECONDS`, by its name: those of
    many services that began together would else come together, and one sample in six take twice as long as the others.
    """
    own = zlib.crc32(f"{view.namespace}/{view.name}".encode()) / 2**32 * MEMORY_SECONDS
    return view.now_seconds + MEMORY_SECONDS - (view.now_seconds - own) % MEMORY_SECONDS


def fast_path(view: ServiceView, state: ControllerState) -> tuple[Decision, ControllerState] | None:
    """The stable decision, where a full pass would reach it again; None: a full pass is needed."""
    stable = state.stable
    if stable is None or not _same(view, stable, state):
        return None
    slo_us = stable.problem.slo_us
    serving = view.serving
    demand = measure(view, slo_us, serving)
    if demand is None or not _calm(demand, slo_us):
        return None
    observed, known = state.observed, state.estimated
    budget = spend(known.budget, demand, slo_us, view.now_seconds, view.spec.slo.budget_window_seconds)
    since, counters = _count(serving, stable, observed.counted, view.now_seconds)
    if since is None:
        return None
    waiting = queue(view, serving, observed.queue_seen, demand)
    seconds = view.now_seconds - observed.counted.updated_seconds
    arrivals = arrived(since, seconds, demand, waiting, recently_started=False)
    samples = with_sample(known.samples, view.now_seconds, seconds, arrivals)
    wanted = _target_demand(view, stable, known, budget, samples, demand)
    if wanted is None:
        return None
    asked, in_flight = sampled_seconds(view), known.in_flight
    bias: Bias | None = known.bias
    if asked != observed.metrics_time_seconds:
        in_flight = smoothed(in_flight, demand.in_flight, stable.replicas)
        seconds = asked - (observed.metrics_time_seconds or asked)
        bias = _bias(stable, known, demand, samples, seconds, view.now_seconds)
    if bias is None or not _same_load(stable, demand, in_flight):
        return None
    enough = scaling.enough(stable.capacity_per_second, wanted, stable.least)
    needed = needed_since(
        state.acted.needed, view.now_seconds, enough, float(view.spec.scaling.scale_down_stabilization_seconds)
    )
    if (
        needed[0][1] < stable.replicas
        and scaling.scale_down_floor(state.acted, view.now_seconds, wanted) < stable.replicas
    ):
        return None  # fewer may do
    decision = stable.decision
    price_per_hour = stable.problem.price_per_hour * stable.replicas
    slo = slo_status(view.status.slo, demand, price_per_hour, budget)
    if slo is not decision.slo and slo != decision.slo:
        decision = replace(decision, slo=slo)
        stable = stable._replace(decision=decision)
    return decision, state.after_fast_path(
        observed.after_fast_path(Counted(counters, view.now_seconds), asked, waiting),
        known.after_fast_path(samples, bias, in_flight, budget),
        state.acted.after_fast_path(needed),
        stable,
    )


def _same(view: ServiceView, stable: Stable, state: ControllerState) -> bool:
    """Whether all that was decided upon is as it was, but for what is measured."""
    return (
        view.now_seconds < stable.until_seconds
        and view.now_seconds - state.observed.counted.updated_seconds >= MIN_SAMPLE_SECONDS
        and view.metrics_unavailable is None
        and not view.refused_settings
        and view.failed_proof is None
        and view.proven_batch <= view.status.control.proven_batch
        and view.replicas == stable.replicas
        and view.model_hash == state.model_hash
        and view.metrics_window_seconds == stable.window_seconds
        and view.memory_limited == stable.memory_limited
        and view.settings == stable.settings
        and (view.spec is stable.spec or view.spec == stable.spec)
        and (view.pool is stable.pool or view.pool == stable.pool)
        and view.status.control == stable.decision.control
    )


def _calm(demand: Demand, slo_us: float) -> bool:
    """Whether there is traffic, and neither a queue nor latency to be done something about."""
    return (
        not demand.saturated
        and not demand.idle
        and demand.p99_us is not None
        and demand.p99_us <= slo_us
        and not demand.unloaded
        and not demand.failing
        and not demand.faulty_pods
        and not demand.silent_pods
    )


def _count(  # noqa: C901 - one walk over pods and rows, without calls: it is half of the fast path
    serving: Sequence[PodView], stable: Stable, counted: Counted, now_seconds: float
) -> tuple[Since | None, Mapping[str, Seen]]:
    """(what came since the last sample, as `since_last_sample` says; the counters of this one). None where another pod
    serves, counters were reset, batches of a new size have come, or executions take another time than estimated.
    """
    nothing: tuple[None, Mapping[str, Seen]] = None, {}
    if len(serving) != len(stable.pods):
        return nothing
    settings, means_us, seen_before = stable.settings, stable.means_us, counted.seen
    seen: dict[str, Seen] = {}
    items = executions = compute_ns = 0
    expected_us = asked = total = queued = 0.0
    reported = True
    for pod, uid in zip(serving, stable.pods, strict=True):
        metrics = pod.metrics
        if pod.uid != uid or pod.settings != settings or metrics is None or pod.ready_seconds < SETTLED_SECONDS:
            return nothing
        rate = metrics.success_rate
        total += rate
        before, rows = seen_before.get(uid), pod.batch_statistics
        was_asked = before is not None and before.at_seconds == counted.updated_seconds
        if was_asked != bool(rows):
            return nothing
        if before is None or not rows:
            continue  # it is not asked: it is taken to be like those that are
        old_rows = before.statistics
        if len(rows) != len(old_rows):
            return nothing
        for row, old in zip(rows, old_rows, strict=True):
            batch, grown = row.batch_size, row.executions - old.executions
            if grown < 0 or batch != old.batch_size:
                return nothing
            if grown == 0:
                continue
            mean_us = means_us.get(batch)
            if mean_us is None:
                return nothing
            items += batch * grown
            executions += grown
            expected_us += mean_us * grown
            compute_ns += row.compute_ns - old.compute_ns
        asked += rate
        more = queued_since(before.queue, pod.queue)
        reported = reported and more is not None
        queued += more or 0
        seen[uid] = Seen(settings, rows, now_seconds, pod.queue)
    compute_us = compute_ns / 1000
    chance = SAME + 1.0 / max(1, executions) ** 0.5
    if asked <= 0 or abs(compute_us - expected_us) > chance * expected_us:
        return nothing
    share = asked / total
    return Since(items / share, queued / share if reported else None), seen


def _same_load(stable: Stable, demand: Demand, in_flight: float | None) -> bool:
    """Whether as much is in flight as in the full pass, from clients of the same kind."""
    known, curve, settings, ready = (
        stable.problem.in_flight_per_replica, stable.problem.curve, stable.settings, stable.replicas,
    )  # fmt: skip
    possible = stable.problem.may_be_closed_loop
    return (
        quantised(max(1.0, in_flight or 1.0), SAME if possible else CLEAR, known) == known
        and waits(demand, curve, settings, ready) == possible
        and not is_closed_loop(demand, curve, settings, ready)
    )


def _bias(
    stable: Stable, state: EstimatorState, demand: Demand, seen: Sequence[ArrivalSample], since_last_seconds: float,
    now_seconds: float,
) -> Bias | None:  # fmt: skip
    """The bias with this sample; None where that makes it another problem."""
    problem, settings = stable.problem, stable.settings
    if state.learned is None:
        return None
    if not tells_of_bias(demand, problem.slo_us):
        return state.bias  # most often
    before = state.bias.known_from(state.learned)
    after = update_bias(
        before, demand, problem.slo_us, stable.fitted, settings, problem.dispersion, stable.replicas,
        since_last_seconds, seen, now_seconds,
    )  # fmt: skip
    if after is before:
        return state.bias
    rounded = dict(problem.biases)
    same = (
        rounded.keys() == {own.settings for own in after.own}
        and all(quantised(after.of(s), before=known) == known for s, known in problem.biases)
        and all(quantised(after.spread_of(s), CLEAR, known) == known for s, known in problem.spreads)
        and quantised(after.of_untried(settings), before=problem.default_bias) == problem.default_bias
        and bias_is_kept(stable.decision.control.service_time, after.of(settings))
    )
    return after if same else None


def _target_demand(
    view: ServiceView,
    stable: Stable,
    state: EstimatorState,
    budget: Budget,
    seen: tuple[ArrivalSample, ...],
    demand: Demand,
) -> float | None:
    """The target demand; None where that is another problem, or more than the replicas carry."""
    problem = stable.problem
    if dispersion(seen, problem.dispersion) != problem.dispersion:
        return None
    floor = float(view.spec.slo.throughput_per_second or 0)
    _, wanted = forecast_demand(
        demand,
        seen,
        state.season,
        state.start_seconds + SAMPLE_INTERVAL_SECONDS,
        floor,
        scaling=False,
        budget=budget,
    )
    if not stable.demand[0] <= quantised(wanted, NOISE, problem.demand_per_second) <= stable.demand[1]:
        return None
    return wanted if scaling.needs(stable.capacity_per_second, wanted, 1.0) <= stable.replicas else None
