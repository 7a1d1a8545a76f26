"""Which of the listed pools is the cheapest for the demand, and whether moving there pays.

A pool costs its price times the replicas that the SLO needs there. A pool where the model has run is judged by its
measurements; any other is assumed to be as fast as the present one, so that only its price counts. A move then
measures it, and the measurements are kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from throughline.api.batching import BatchingMode
from throughline.api.inferenceservice import PlacementStrategy
from throughline.api.scaling import ScalingMode
from throughline.api.status import Action
from throughline.domain.control.act.texts import alternative, inputs_text, predicted_text
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.observation import price_of
from throughline.domain.control.optimise.choose import candidates, choose, search
from throughline.domain.control.predict.outcome import Problem, evaluate
from throughline.domain.control.tuning import AGAIN_SECONDS, CLEAR, LASTING_SECONDS, SAME, SETTLED_SECONDS
from throughline.domain.formatting import count, money
from throughline.domain.records import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.status import DecisionRecord, ServiceTime
    from throughline.domain.control.act.batch_step import BatchStep
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.act.scaling import ScaleStep
    from throughline.domain.control.predict.outcome import Candidate
    from throughline.domain.observed import PoolView


class PoolCandidate(NamedTuple):
    """A pool, and the best settings and replicas there."""

    pool: PoolView
    best: Candidate
    most_replicas: int  # by spec and pool
    measured: bool

    @property
    def feasible(self) -> bool:
        """Whether the SLO can be met there."""
        return self.best.needed is not None and self.best.needed <= self.most_replicas

    @property
    def full(self) -> bool:
        """Whether only the lack of capacity prevents it."""
        return self.best.needed is not None and self.best.needed > self.most_replicas


class MoveStep(NamedTuple):
    """`pool` None: stay. `pending_move`: `ActState.pending_move`."""

    pool: str | None = None
    pending_move: tuple[str, float] | None = None
    records: tuple[DecisionRecord, ...] = ()


def cheapest(here: PoolCandidate, others: Sequence[PoolCandidate], *, infeasible_here: bool) -> PoolCandidate | None:
    """Where to move from `here`; None: nowhere. Of equally cheap pools the first listed.

    `infeasible_here`: the present pool cannot meet the SLO, so a more expensive one will do, too.
    """
    target = min((p for p in others if p.feasible), key=lambda p: p.best.cost_per_hour, default=None)
    if target is None or infeasible_here:
        return target
    return target if target.best.cost_per_hour < (1.0 - CLEAR) * here.best.cost_per_hour else None


def _pool_candidate(ctx: Context, problem: Problem, pool: PoolView, known: ServiceTime | None) -> PoolCandidate:
    """The best for this problem's demand on that pool, whose capacity is known. `known`: what was measured there."""
    spec, most = ctx.view.spec, ctx.observation.max_replicas
    if ctx.view.pool is None or pool.name != ctx.view.pool.name:
        most = min(spec.scaling.max_replicas, pool.capacity_replicas or 0)
    devices = spec.model.devices(pool.spec)
    there = problem._replace(
        curve=replace(problem.curve, devices=devices),
        price_per_hour=price_of(pool.spec.cost_per_hour),
        max_replicas=max(most, 1),
        min_replicas=ctx.min_replicas,
    )
    seen = ctx.largest_batch
    if known is not None:
        curve, seen = ServiceTimeModel.of(known, devices), known.largest_batch
        there = there._replace(curve=curve, biases=(), spreads=(), default_bias=max(1.0, known.error_permille / 1000))
    candidate = evaluate(there, ctx.settings)
    if spec.batching.mode is BatchingMode.AUTO:
        candidate = choose(search(there, candidates(spec.batching, ctx.settings, seen, ctx.slo_us), candidate))
    return PoolCandidate(pool, candidate, most, known is not None)


def _quiescent(ctx: Context, batch: BatchStep, scale: ScaleStep) -> bool:
    """No other change is in progress that a move would disturb, or that would distort the measurements."""
    return (
        batch.trial is None
        and not batch.changed
        and not scale.changed
        and not ctx.observation.scaling
        and ctx.observation.rollout_complete
        and not any(p.elsewhere for p in ctx.view.pods)
    )


def step(ctx: Context, batch: BatchStep, scale: ScaleStep) -> MoveStep:
    """Whether to move in this pass."""
    view, problem, demand = ctx.view, ctx.problem, ctx.demand
    spec = view.spec
    if view.pool is None or len(view.pools) < 2 or spec.placement.strategy is not PlacementStrategy.CHEAPEST:
        return MoveStep()
    if spec.scaling.mode is not ScalingMode.AUTO or problem is None or demand is None or demand.idle:
        return MoveStep()
    if not _quiescent(ctx, batch, scale) or problem.price_per_hour <= 0:
        return MoveStep()
    learned = {k.name: k.service_time for k in ctx.control.pools}
    # Unknown capacity is no reason to leave a pool, or to move there.
    others = [p for p in view.pools if p.name != view.pool.name and p.capacity_replicas is not None]
    if view.pool.capacity_replicas is None or not others:
        return MoveStep()
    now = problem._replace(demand_per_second=ctx.estimates.target_demand)
    here = _pool_candidate(ctx, now, view.pool, None)
    infeasible = not here.feasible
    if infeasible:
        with_headroom = now._replace(demand_per_second=(1.0 + SAME) * now.demand_per_second)
    elif ctx.estimates.slo_violated:
        return MoveStep()  # something else is wrong, and may be on another pool, too
    else:
        since = ctx.now - LASTING_SECONDS
        peak = max(
            (sample.per_second for sample in ctx.estimates.state.samples if sample.at_seconds > since), default=0.0
        )
        now = now._replace(demand_per_second=max(peak, now.demand_per_second))
        here = _pool_candidate(ctx, now, view.pool, None)
        with_headroom = now._replace(demand_per_second=(1.0 + SAME) * now.demand_per_second)
    # What it needs with headroom must fit; the cost is that of the demand itself.
    feasible = {p.name for p in others if _pool_candidate(ctx, with_headroom, p, learned.get(p.name)).feasible}
    pool_candidates = [_pool_candidate(ctx, now, p, learned.get(p.name)) for p in others]
    target = cheapest(here, [p for p in pool_candidates if p.pool.name in feasible], infeasible_here=infeasible)
    if target is None:
        return MoveStep()
    name = target.pool.name
    pending = ctx.state.pending_move
    if pending is None or pending[0] != name:
        pending = (name, ctx.now)
    lasts, pause = (SETTLED_SECONDS, LASTING_SECONDS) if infeasible else (LASTING_SECONDS, AGAIN_SECONDS)
    if ctx.now - pending[1] < lasts or ctx.seconds_since(ctx.control.last_move) < pause:
        return MoveStep(pending_move=pending)
    return MoveStep(name, None, (_record(ctx, here, target, pool_candidates, infeasible=infeasible),))


def _record(
    ctx: Context,
    here: PoolCandidate,
    target: PoolCandidate,
    pool_candidates: Sequence[PoolCandidate],
    *,
    infeasible: bool,
) -> DecisionRecord:
    assert ctx.demand is not None  # noqa: S101 - the caller has measured
    reason = "CheaperPool" if not infeasible else "PoolFull" if here.full else "PoolTooSlow"
    speed = "as measured there" if target.measured else "never tried: taken to be as fast as here"
    needs = "cannot meet the SLO" if here.best.needed is None else f"needs {count(here.best.needed, 'replica')}"
    holds = f" and can hold {here.most_replicas}" if here.full else f" at {money(here.best.cost_per_hour)} per hour"
    text = (
        f"pool {here.pool.name} → {target.pool.name}: {count(target.best.replicas, 'replica')} at "
        f"{money(target.best.cost_per_hour)} per hour there ({speed}); {here.pool.name} {needs}{holds}"
    )
    rows = [alternative(target.best, f"pool {target.pool.name}: chosen")]
    rows.append(alternative(here.best, f"pool {here.pool.name}: left"))
    for other in pool_candidates:
        if other is not target:
            why = "costs more" if other.feasible else "cannot hold what is needed"
            rows.append(alternative(other.best, f"pool {other.pool.name}: {why}"))
    return record(
        ctx.now, Action.PLACE, reason, text,
        inputs=inputs_text(ctx),
        predicted=predicted_text(target.best), replicas=target.best.replicas, settings=target.best.settings,
        alternatives=rows,
    )  # fmt: skip
