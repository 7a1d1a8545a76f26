"""Act: what is done in this pass, of settings, replicas, pool and single pods; and what is to be persisted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.api.status import ControlStatus
from throughline.domain.control.act import batching, move, repair, scaling
from throughline.domain.control.estimate.learned import persisted, persisted_load_seconds
from throughline.domain.times import rfc3339

if TYPE_CHECKING:
    from throughline.api.status import DecisionRecord
    from throughline.domain.control.act.batch_step import BatchStep
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.act.move import MoveStep
    from throughline.domain.control.act.repair import RepairStep
    from throughline.domain.control.act.scaling import ScaleStep
    from throughline.domain.control.act.state import ActState


class Acted(NamedTuple):
    """The steps of this pass."""

    batch: BatchStep
    scale: ScaleStep
    move: MoveStep
    repairs: RepairStep
    control: ControlStatus
    state: ActState

    @property
    def records(self) -> tuple[DecisionRecord, ...]:
        return (*self.batch.records, *self.scale.records, *self.move.records, *self.repairs.records)

    @property
    def active(self) -> bool:
        """Whether something was begun, or is under watch."""
        batch = self.batch
        return batch.changed or self.scale.changed or bool(self.repairs.records) or batch.trial is not None


def act(ctx: Context) -> Acted:
    """What to do. Settings come first: they are free, and the replicas follow from them."""
    batch = batching.step(ctx)
    scale = scaling.step(ctx, batch)
    moved = move.step(ctx, batch, scale)
    repairs = repair.step(ctx, batch)
    state = scale.state._replace(worse=batch.worse, pending_move=moved.pending_move)
    if batch.changed:
        was, trial = ctx.control.trial, batch.trial
        passed = was is not None and trial is not None and trial.settings == was.settings  # and is given to all pods
        in_flight = None if ctx.demand is None else ctx.demand.in_flight
        state = state.with_batch_change(ctx.now, in_flight, new=not passed)
    return Acted(batch, scale, moved, repairs, _control(ctx, batch, scale, moved, repairs), state)


def _control(ctx: Context, batch: BatchStep, scale: ScaleStep, moved: MoveStep, repairs: RepairStep) -> ControlStatus:
    """What is to be persisted; the same object while it says the same."""
    old = ctx.control
    service_time = persisted(old.service_time, ctx.estimates.learned)
    load_seconds = persisted_load_seconds(old.load_seconds, ctx.estimates.load_seconds)
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
    changed = batch.changed or scale.changed or moved.pool is not None
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
        last_move=rfc3339(ctx.now) if moved.pool is not None else old.last_move,
        repairs=repaired,
        pools=old.pools,
    )
