"""One pass of the loop for one service: observe → estimate → predict → optimise → act → explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.inferenceservice import PlacementStrategy
from throughline.api.status import Action, SLOStatus
from throughline.domain.control.act import batching
from throughline.domain.control.act.act import act
from throughline.domain.control.act.context import Context
from throughline.domain.control.estimate.estimates import estimate
from throughline.domain.control.estimate.learned import control_of
from throughline.domain.control.explain.conditions import conditions
from throughline.domain.control.explain.slo import slo_status
from throughline.domain.control.fast_path import fast_path, stable
from throughline.domain.control.observe.observation import observe
from throughline.domain.control.optimise import proposal
from throughline.domain.control.predict.problem import problem
from throughline.domain.control.state import ControllerState
from throughline.domain.control.tuning import SAMPLE_INTERVAL_SECONDS
from throughline.domain.decision import Decision
from throughline.domain.records import record

if TYPE_CHECKING:
    from throughline.api.status import DecisionRecord
    from throughline.domain.control.act.act import Acted
    from throughline.domain.observed import ServiceView


def build_context(view: ServiceView, state: ControllerState) -> Context:
    """What is seen, estimated and predicted in this pass. `state`: of this model and pool."""
    assume = view.spec.placement.strategy is PlacementStrategy.CHEAPEST
    control = control_of(view.status.control, state.model_hash, state.pool, assume=assume)
    observation = observe(view, control, state.observed)
    estimates = estimate(observation, state.estimated, worse=state.acted.worse)
    return Context(observation, estimates, problem(observation, estimates, state.problem), state.optimised, state.acted)


def decide(view: ServiceView, state: ControllerState) -> tuple[Decision, ControllerState]:
    """The decision for this view. Pure: the same view and state give the same decision.

    Without metrics everything stays as it is and the conditions say so; nothing missing is ever taken for zero.
    """
    again = fast_path(view, state)
    if again is not None:
        return again
    state = state.of(view.model_hash, view.pool.name if view.pool else view.status.control.pool)
    ctx = build_context(view, state)
    acted = act(ctx)
    decision = _explained(ctx, acted)
    batch = acted.batch
    after = ControllerState(
        observed=ctx.observation.state,
        estimated=ctx.estimates.state,
        problem=state.problem if ctx.problem is None else ctx.problem,
        optimised=proposal.after(ctx.optimiser, batch.judged),
        acted=acted.state,
        model_hash=state.model_hash,
        pool=state.pool,
    )
    return decision, after._replace(stable=stable(ctx, acted, decision))


def _explained(ctx: Context, acted: Acted) -> Decision:
    view, batch, scale, demand = ctx.view, acted.batch, acted.scale, ctx.demand
    replicas = view.replicas or scale.replicas or 0
    slo = SLOStatus()
    if demand is not None:
        price_per_hour = ctx.observation.price_per_hour * replicas
        slo = slo_status(view.status.slo, demand, price_per_hour, ctx.estimates.state.budget)
    active = acted.active or (demand is not None and ctx.estimates.slo_violated)
    return Decision(
        replicas=scale.replicas,
        settings=batch.settings,
        pod_settings=batch.pod_settings,
        control=acted.control,
        conditions=conditions(ctx, batch, scale),
        records=(*acted.records, *_held(ctx, acted, replicas)),
        slo=slo,
        reloads=acted.repairs.reloads,
        pool=acted.move.pool,
        recommended_replicas=scale.recommended,
        recommended_settings=batching.advised(ctx, batch),
        requeue_seconds=SAMPLE_INTERVAL_SECONDS / 2 if active else SAMPLE_INTERVAL_SECONDS,
    )


def _held(ctx: Context, acted: Acted, replicas: int) -> tuple[DecisionRecord, ...]:
    """That everything is held, as there are no metrics."""
    gone = ctx.view.metrics_unavailable
    if gone is None:
        return ()
    text = f"holding everything as it is: {gone.message}"
    return (record(ctx.now, Action.HOLD, gone.reason, text, replicas=replicas, settings=acted.batch.settings),)
