"""Which of the listed pools is the cheapest for the demand, and whether moving there pays.

A pool costs its price times the replicas that the SLO needs there. Where the model has run before it is judged by what
was measured there; where it never has, it is taken to be as fast as here, so that only its price counts: a move then
shows, and what it shows is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from throughline.api.batching import BatchingMode
from throughline.api.inferenceservice import PlacementStrategy
from throughline.api.scaling import ScalingMode
from throughline.api.status import Action
from throughline.domain.control.choose import Problem, candidates, choose, evaluate, search
from throughline.domain.control.context import price_of
from throughline.domain.control.formatting import alternative, inputs_text, predicted_text, record
from throughline.domain.control.service_time_model import ServiceTimeModel
from throughline.domain.formatting import count, money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.status import DecisionRecord, ServiceTime
    from throughline.domain.control.batching import BatchStep
    from throughline.domain.control.choose import Candidate
    from throughline.domain.control.context import Context
    from throughline.domain.control.scaling import ScaleStep
    from throughline.domain.observed import PoolView

# A move loads the model anew on other hardware, so it must save more than this of the cost, for the most that has come
# in so long; and for all this time without a break.
SAVES = 0.2
PEAK_SECONDS = 600.0
SAVING_SECONDS = 300.0
COOL_DOWN_SECONDS = 1800.0
# Away from a pool that cannot hold, or do, what the SLO needs, sooner.
LACKING_SECONDS = 60.0
LACKING_COOL_DOWN_SECONDS = 300.0
# A pool that is moved to must carry so many times the demand, or the first burst would fill it.
ROOM = 1.1


class Place(NamedTuple):
    """A pool, and the best that can be done there."""

    pool: PoolView
    option: Candidate
    most_replicas: int  # by spec and pool
    measured: bool

    @property
    def able(self) -> bool:
        """Whether the SLO can be met there."""
        return self.option.needed is not None and self.option.needed <= self.most_replicas

    @property
    def full(self) -> bool:
        """Whether it is for want of room that it cannot."""
        return self.option.needed is not None and self.option.needed > self.most_replicas


class PlaceStep(NamedTuple):
    """`pool` None: stay. `pending_move`: `ControllerState.pending_move`."""

    pool: str | None = None
    pending_move: tuple[str, float] | None = None
    records: tuple[DecisionRecord, ...] = ()


def cheapest(here: Place, others: Sequence[Place], *, room_lacks: bool) -> Place | None:
    """Where to move from `here`; None: nowhere. Of equally cheap pools the first listed.

    `room_lacks`: the present pool cannot do what the SLO needs, so that a dearer one will do, too.
    """
    target = min((p for p in others if p.able), key=lambda p: p.option.cost_per_hour, default=None)
    if target is None or room_lacks:
        return target
    return target if target.option.cost_per_hour < (1.0 - SAVES) * here.option.cost_per_hour else None


def _place(ctx: Context, problem: Problem, pool: PoolView, known: ServiceTime | None) -> Place:
    """The best for this problem's demand on that pool, whose capacity is known. `known`: what was measured there."""
    spec, most = ctx.view.spec, ctx.max_replicas
    if ctx.view.pool is None or pool.name != ctx.view.pool.name:
        most = min(spec.scaling.max_replicas, pool.capacity_replicas or 0)
    devices = spec.model.devices(pool.spec)
    there = problem._replace(
        curve=replace(problem.curve, devices=devices),
        price_per_hour=price_of(pool.spec.cost_per_hour),
        max_replicas=max(most, 1),
        min_replicas=ctx.min_replicas,
    )
    seen = ctx.state.known.largest_batch if ctx.state.known else 0
    if known is not None:
        curve, seen = ServiceTimeModel.of(known, devices), known.largest_batch
        there = there._replace(curve=curve, biases=(), default_bias=max(1.0, known.error_permille / 1000))
    option = evaluate(there, ctx.settings)
    if spec.batching.mode is BatchingMode.AUTO:
        option = choose(search(there, candidates(spec.batching, ctx.settings, seen, ctx.slo_us), option))
    return Place(pool, option, most, known is not None)


def _still(ctx: Context, batch: BatchStep, scale: ScaleStep) -> bool:
    """Nothing is under way that a move would disturb, or that would make what is measured something else."""
    return (
        batch.trial is None
        and not batch.changed
        and not scale.changed
        and not ctx.scaling
        and ctx.rollout_complete
        and not any(p.elsewhere for p in ctx.view.pods)
    )


def step(ctx: Context, batch: BatchStep, scale: ScaleStep) -> PlaceStep:
    """Whether to move in this pass."""
    view, problem, demand, state = ctx.view, ctx.problem, ctx.demand, ctx.state
    spec = view.spec
    if view.pool is None or len(view.pools) < 2 or spec.placement.strategy is not PlacementStrategy.CHEAPEST:
        return PlaceStep()
    if spec.scaling.mode is not ScalingMode.AUTO or problem is None or demand is None or demand.idle:
        return PlaceStep()
    if not _still(ctx, batch, scale) or problem.price_per_hour <= 0:
        return PlaceStep()
    learned = {k.name: k.service_time for k in ctx.control.pools}
    # What a pool can hold is no reason to leave it, or to go there, where it is not known.
    others = [p for p in view.pools if p.name != view.pool.name and p.capacity_replicas is not None]
    if view.pool.capacity_replicas is None or not others:
        return PlaceStep()
    now = problem._replace(demand_per_second=ctx.target_demand)
    here = _place(ctx, now, view.pool, None)
    lacks = not here.able
    if lacks:
        roomy = now._replace(demand_per_second=ROOM * now.demand_per_second)
    elif ctx.slo_violated:
        return PlaceStep()  # something else is amiss, and another pool may have it, too
    else:
        since = ctx.now - PEAK_SECONDS
        peak = max((sample.per_second for sample in state.samples if sample.at_seconds > since), default=0.0)
        now = now._replace(demand_per_second=max(peak, now.demand_per_second))
        here = _place(ctx, now, view.pool, None)
        roomy = now._replace(demand_per_second=ROOM * now.demand_per_second)
    # What it needs with room must fit, and what it needs is paid for.
    able = {p.name for p in others if _place(ctx, roomy, p, learned.get(p.name)).able}
    places = [_place(ctx, now, p, learned.get(p.name)) for p in others]
    target = cheapest(here, [p for p in places if p.pool.name in able], room_lacks=lacks)
    if target is None:
        return PlaceStep()
    name = target.pool.name
    pending = state.pending_move
    if pending is None or pending[0] != name:
        pending = (name, ctx.now)
    lasts, pause = (LACKING_SECONDS, LACKING_COOL_DOWN_SECONDS) if lacks else (SAVING_SECONDS, COOL_DOWN_SECONDS)
    if ctx.now - pending[1] < lasts or ctx.seconds_since(ctx.control.last_move) < pause:
        return PlaceStep(pending_move=pending)
    return PlaceStep(name, None, (_record(ctx, here, target, places, lacks=lacks),))


def _record(ctx: Context, here: Place, target: Place, places: Sequence[Place], *, lacks: bool) -> DecisionRecord:
    assert ctx.demand is not None  # noqa: S101 - the caller has measured
    reason = "CheaperPool" if not lacks else "PoolFull" if here.full else "PoolTooSlow"
    speed = "as measured there" if target.measured else "never tried: taken to be as fast as here"
    needs = "cannot meet the SLO" if here.option.needed is None else f"needs {count(here.option.needed, 'replica')}"
    holds = f" and can hold {here.most_replicas}" if here.full else f" at {money(here.option.cost_per_hour)} per hour"
    text = (
        f"pool {here.pool.name} → {target.pool.name}: {count(target.option.replicas, 'replica')} at "
        f"{money(target.option.cost_per_hour)} per hour there ({speed}); {here.pool.name} {needs}{holds}"
    )
    rows = [alternative(target.option, f"pool {target.pool.name}: chosen")]
    rows.append(alternative(here.option, f"pool {here.pool.name}: left"))
    for place in places:
        if place is not target:
            why = "costs more" if place.able else "cannot hold what is needed"
            rows.append(alternative(place.option, f"pool {place.pool.name}: {why}"))
    return record(
        ctx.now, Action.PLACE, reason, text,
        inputs=inputs_text(ctx),
        predicted=predicted_text(target.option), replicas=target.option.replicas, settings=target.option.settings,
        alternatives=rows,
    )  # fmt: skip
