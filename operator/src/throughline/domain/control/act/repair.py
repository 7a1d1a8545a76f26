"""Repair of a pod that fails the requests which its peers answer: its model is loaded again, whole.

The old model serves until the new one is there, so nothing is taken away: not even from the only pod. What is to be
done is written to status.control before it is done, and done only from there: after a crash it is done once more at the
most, and never without a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.api.status import MAX_REPAIRS, Action, Repair
from throughline.domain.control.act.texts import inputs_text
from throughline.domain.control.observe import failures
from throughline.domain.control.optimise.memory import memory_allows
from throughline.domain.control.tuning import AGAIN_SECONDS, RESPONSE_SECONDS, SETTLED_SECONDS
from throughline.domain.formatting import portion
from throughline.domain.records import record
from throughline.domain.times import rfc3339, unix_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.status import DecisionRecord
    from throughline.domain.control.act.batch_step import BatchStep
    from throughline.domain.control.act.context import Context


class RepairStep(NamedTuple):
    """`reloads`: pod uid → the time of the repair that is to be carried out on it now."""

    repairs: tuple[Repair, ...] = ()
    reloads: Mapping[str, str] = {}
    records: tuple[DecisionRecord, ...] = ()


def step(ctx: Context, batch: BatchStep) -> RepairStep:
    """The repairs of this pass."""
    known = tuple(r for r in ctx.control.repairs if ctx.seconds_since(r.started) < AGAIN_SECONDS)
    uids = {p.name: p.uid for p in ctx.serving}
    reloads = {
        uids[r.pod]: r.started
        for r in ctx.view.status.control.repairs
        if r.pod in uids and ctx.seconds_since(r.started) < SETTLED_SECONDS
    }
    pod = _due(ctx, batch, known)
    if pod is None:
        return RepairStep(known, reloads)
    started = rfc3339(ctx.now)
    text = f"the model is loaded again on pod {pod}, which fails {_portion(ctx, pod)} of its requests"
    entry = record(
        ctx.now, Action.REPAIR, "ModelReloaded", text, inputs=inputs_text(ctx), replicas=ctx.view.replicas or 0,
        settings=batch.settings,
    )  # fmt: skip
    return RepairStep((*known, Repair(pod=pod, started=started))[-MAX_REPAIRS:], reloads, (entry,))


def reloaded(ctx: Context) -> list[str]:
    """Pods whose last repair is old enough to be judged."""
    return [r.pod for r in ctx.control.repairs if ctx.now - unix_seconds(r.started) >= ctx.observation.observe_seconds]


def _due(ctx: Context, batch: BatchStep, known: tuple[Repair, ...]) -> str | None:
    """The pod that is to be repaired; None: there is none, or not now."""
    demand = ctx.demand
    canary = batch.trial is not None and batch.trial.pod is not None
    if demand is None or not demand.faulty_pods or canary or batch.changed:
        return None
    if not failures.one_sided(demand.faulty_pods, ctx.serving) and len(ctx.serving) > 1:
        return None  # all of them fail: that is the model's or the clients' fault, and loading it again changes nothing
    if any(ctx.seconds_since(r.started) < RESPONSE_SECONDS for r in known) or not memory_allows(
        ctx.observation, ctx.settings, whole=True
    ):
        return None
    done = {r.pod for r in known}
    least = ctx.view.metrics_window_seconds + SETTLED_SECONDS
    due = (
        p.name
        for p in ctx.serving
        if p.name in demand.faulty_pods
        and p.name not in done
        and p.settings == batch.settings  # else they are loaded anyway
        and p.ready_seconds >= least
    )
    return min(due, default=None)


def _portion(ctx: Context, pod: str) -> str:
    metrics = next(p.metrics for p in ctx.serving if p.name == pod)
    return portion(failures.failed_share(metrics)) if metrics is not None else "some"
