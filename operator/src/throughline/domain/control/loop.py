"""One pass of the loop for one service: view → decision, with its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.status import Action, ControlStatus, SLOStatus
from throughline.domain.control import batching, conditions, pools, repair, scaling
from throughline.domain.control.context import COSTLY_SECONDS, Context, build_context, persisted
from throughline.domain.control.fast_path import fast_path, stable
from throughline.domain.control.formatting import record, rfc3339, slo_status
from throughline.domain.control.state import ControllerState, with_bias
from throughline.domain.decision import Decision

if TYPE_CHECKING:
    from throughline.api.status import ServiceTime
    from throughline.domain.control.batch_step import BatchStep
    from throughline.domain.control.pools import MoveStep
    from throughline.domain.control.repair import RepairStep
    from throughline.domain.control.scaling import ScaleStep
    from throughline.domain.observed import ServiceView

__all__ = ["ControllerState", "decide"]

BUSY_REQUEUE_SECONDS = 5.0
REQUEUE_SECONDS = 10.0
# Settings that were rolled back are assumed to be this many times slower than predicted, until they are measured again.
WORSE_BIAS = 1.3
# The cost of a load is persisted again only when it has moved by more than this share.
LOAD_NOISE = 0.5


def _slo_status(ctx: Context, replicas: int) -> SLOStatus:
    return (
        SLOStatus()
        if ctx.demand is None
        else slo_status(ctx.view.status.slo, ctx.demand, ctx.price_per_hour * replicas, ctx.state.budget)
    )


def _control(
    ctx: Context, batch: BatchStep, scale: ScaleStep, move: MoveStep, repairs: RepairStep, learned: ServiceTime | None
) -> ControlStatus:
    """What is to be persisted; the same object while it says the same."""
    old = ctx.control
    service_time = persisted(old.service_time, learned)
    load_seconds = old.load_seconds
    if abs(ctx.load_seconds - load_seconds) > max(COSTLY_SECONDS, LOAD_NOISE * load_seconds):
        load_seconds = round(ctx.load_seconds)
    rejected, repaired = list(batch.rejected), list(repairs.repairs)
    proven = max(old.proven_batch, ctx.view.proven_batch)
    same = (
        batch.trial is old.trial
        and proven == old.proven_batch
        and repaired == old.repairs
        and rejected == old.rejected
        and service_time is old.service_time
        and load_seconds == old.load_seconds
    )
    changed = batch.changed or scale.changed or move.pool is not None
    if same and not changed and old.model_hash == ctx.view.model_hash:
        return old
    return ControlStatus(
        pool=old.pool,
        model_hash=ctx.view.model_hash,
        service_time=service_time,
        trial=batch.trial,
        rejected=rejected,
        proven_batch=proven,
        last_rollback=rfc3339(ctx.now) if batch.rolled_back else old.last_rollback,
        load_seconds=load_seconds,
        last_batch_change=rfc3339(ctx.now) if batch.changed else old.last_batch_change,
        last_scale_change=rfc3339(ctx.now) if scale.changed else old.last_scale_change,
        last_move=rfc3339(ctx.now) if move.pool is not None else old.last_move,
        repairs=repaired,
        pools=old.pools,
    )


def decide(view: ServiceView, state: ControllerState) -> tuple[Decision, ControllerState]:
    """The decision for this view. Pure: the same view and state give the same decision.

    Without metrics everything stays as it is and the conditions say so; nothing missing is ever taken for zero.
    """
    again = fast_path(view, state)
    if again is not None:
        return again
    ctx, learned = build_context(view, state)
    batch = batching.step(ctx)
    scale = scaling.step(ctx, batch)
    move = pools.step(ctx, batch, scale)
    repairs = repair.step(ctx, batch)
    control = _control(ctx, batch, scale, move, repairs, learned)
    records = [*batch.records, *scale.records, *move.records, *repairs.records]
    current = view.replicas or scale.replicas or 0
    if view.metrics_unavailable is not None:
        gone = view.metrics_unavailable
        text = f"holding everything as it is: {gone.message}"
        records.append(record(ctx.now, Action.HOLD, gone.reason, text, replicas=current, settings=batch.settings))
    active = (
        batch.changed
        or scale.changed
        or bool(repairs.records)
        or batch.trial is not None
        or (ctx.demand is not None and ctx.slo_violated)
    )
    decision = Decision(
        replicas=scale.replicas,
        settings=batch.settings,
        pod_settings=batch.pod_settings,
        control=control,
        conditions=conditions.conditions(ctx, batch, scale),
        records=tuple(records),
        slo=_slo_status(ctx, current),
        reloads=repairs.reloads,
        pool=move.pool,
        recommended_replicas=scale.recommended,
        recommended_settings=batching.advised(ctx, batch),
        requeue_seconds=BUSY_REQUEUE_SECONDS if active else REQUEUE_SECONDS,
    )
    state = scale.state.with_judged(batch.judged)
    if move.pending_move != state.pending_move:
        state = state._replace(pending_move=move.pending_move)
    if batch.saving != (state.saving_since is not None):
        state = state._replace(saving_since=ctx.now if batch.saving else None)
    if batch.worse is not None:
        known = state.bias_of(batch.worse)
        worse = WORSE_BIAS * (1.0 if known is None else max(1.0, known))
        state = state._replace(biases=with_bias(state.biases, batch.worse, worse))
    if batch.changed:
        was, trial = ctx.control.trial, batch.trial
        passed = was is not None and trial is not None and trial.settings == was.settings  # and is given to all pods
        in_flight = None if ctx.demand is None else ctx.demand.in_flight
        state = state.with_batch_change(ctx.now, in_flight, new=not passed)
    return decision, state._replace(stable=stable(ctx, state, batch, scale, decision))
