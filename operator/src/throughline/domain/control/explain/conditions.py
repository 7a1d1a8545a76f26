"""The four conditions of the loop: MetricsAvailable, SLOMet, ScalingActive, BatchTuned, and LoadBalanced.

Their messages carry no live number, so that a steady service is not written again and again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from throughline.api.base import ConditionStatus
from throughline.api.batching import BatchingMode
from throughline.api.scaling import ScalingMode
from throughline.api.status import BlockedBy
from throughline.domain import commands, refusals
from throughline.domain.control.act import repair
from throughline.domain.control.explain import failing
from throughline.domain.control.model.queueing import p99_us
from throughline.domain.control.observe import series
from throughline.domain.control.optimise.blocked import Blocked, block_text
from throughline.domain.control.tuning import SETTLED_SECONDS, WARM_EXECUTIONS
from throughline.domain.decision import ConditionUpdate
from throughline.domain.formatting import count, duration, plain
from throughline.domain.records import settings_text

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.domain.control.act.batch_step import BatchStep
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.act.scaling import ScaleStep

# A prediction of more than twice the replicas that may run is not shown as a number.
MOST_ADVISED = 2

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def metrics_available(ctx: Context) -> ConditionUpdate:
    kind = "MetricsAvailable"
    gone = ctx.view.metrics_unavailable
    if gone is not None:
        return ConditionUpdate(kind, FALSE, gone.reason, gone.message)
    if not ctx.serving:
        return ConditionUpdate(kind, UNKNOWN, "NoServingPod", "no pod serves yet, so there is nothing to measure")
    found = series.missing(ctx.view, ctx.serving)
    if found is not None:
        return ConditionUpdate(kind, FALSE, found.reason, found.message)
    if ctx.demand is None:
        return ConditionUpdate(
            kind,
            UNKNOWN,
            "AwaitingFirstScrape",
            "the pods are new: Prometheus must scrape them twice before their rates are known",
        )
    return ConditionUpdate(kind, TRUE, "Fresh", "Prometheus has fresh metrics of the serving pods")


def _without_metrics(ctx: Context, kind: str, effect: str) -> ConditionUpdate:
    """Pods that have just come have no metrics yet, and that is no fault."""
    if metrics_available(ctx).status is UNKNOWN:
        return ConditionUpdate(kind, UNKNOWN, "AwaitingMetrics", f"{effect} until the pods have metrics")
    return ConditionUpdate(kind, UNKNOWN, "MetricsUnavailable", f"{effect} until MetricsAvailable is True again")


def _fastest_us(ctx: Context) -> float | None:
    """p99 of an idle replica under the smallest settings: nothing can be below it. A correction upwards was measured
    under load and says nothing of an idle replica.
    """
    if ctx.problem is None:
        return None
    smallest = ctx.settings.model_copy(update={"max_batch_size": 1, "max_queue_delay_microseconds": 0, "instances": 1})
    return min(1.0, ctx.problem.default_bias) * p99_us(ctx.problem.curve, smallest, 1e-6)


def _warm(ctx: Context) -> bool:
    """Whether what was measured is of a model that has been in use for a while: its first requests may take many times
    as long, and are no reason to change a spec.
    """
    known = ctx.estimates.learned
    return (
        any(p.ready_seconds >= SETTLED_SECONDS for p in ctx.serving)
        and not ctx.estimates.warming_up
        and ctx.now - ctx.estimates.warm_since >= ctx.observation.observe_seconds
        and ctx.seconds_since(ctx.control.last_batch_change) >= ctx.observation.observe_seconds
        and (known is None or known.executions >= WARM_EXECUTIONS)
    )


def _many(needed: int, limit: int) -> str:
    """How many replicas are needed, in words: a prediction of many times what there may be is no number to type."""
    if needed > MOST_ADVISED * limit:
        return "more than twice as many"
    return f"about {count(needed, 'replica')}"


def _lacking(ctx: Context, needed: int) -> tuple[str, str] | None:
    """Why the replicas that are needed do not come; None: they may."""
    spec = ctx.view.spec
    if spec.scaling.mode is not ScalingMode.AUTO:
        return "NotAutomatic", (
            f"{_many(needed, ctx.view.replicas or 1)} would be needed, and spec.scaling.mode is {spec.scaling.mode}; "
            f"type `{commands.scale(ctx.view, needed)}`, or set the mode to Auto"
        )
    return _beyond_bounds(ctx, needed)


def _beyond_bounds(ctx: Context, needed: int) -> tuple[str, str] | None:
    """What keeps the replicas that are needed from running, the pool or the spec, and what to do; None: nothing."""
    if needed <= ctx.observation.max_replicas:
        return None
    most, holds = ctx.view.spec.scaling.max_replicas, ctx.observation.max_replicas
    if holds < most:
        pool = f"pool {ctx.view.pool.name}" if ctx.view.pool else "the pool"
        fix = "add nodes to it or list another pool in spec.placement.pools"
        if ctx.view.pool and ctx.view.pool.closed:
            fix = f"{ctx.view.pool.closed}; else {fix}"
        return "PoolFull", f"{pool} can hold {holds}, and {_many(needed, holds)} would be needed; {fix}"
    if needed > MOST_ADVISED * most:
        fix = f"see with `{commands.explain(ctx.view)}` what makes it slow"
    else:
        fix = f"raise it to {needed}, or place the service on a faster pool"
    return "AtMaxReplicas", f"spec.scaling.maxReplicas is {most}, {_many(needed, most)} would be needed; {fix}"


def _blocked(ctx: Context) -> tuple[str, str] | None:
    """What keeps replicas that are ordered from starting, in the words of whoever refuses them; None: nobody does."""
    view = ctx.view
    missing = (view.replicas or 0) - len(view.started)
    no_node = next((p.unschedulable for p in view.pods if p.unschedulable), None)
    leaving = any(p.terminating for p in view.pods)  # which makes room, most often
    if missing <= 0 or (view.pods_refused is None and (no_node is None or leaving)):
        return None
    if view.pods_refused is not None:
        _, said = refusals.refused(view.pods_refused, view.namespace)
    else:
        said = f"no node takes the pod: {no_node}"
        if view.pool and view.pool.closed:
            said += f" ({view.pool.closed})"
    return "ReplicasBlocked", f"{missing} of {count(view.replicas or 0, 'replica')} cannot start: {said}"


def _missed(ctx: Context, batch: BatchStep, scale: ScaleStep) -> tuple[str, str]:
    """(reason, message) of a missed SLO: what is being done, or what would be needed."""
    spec = ctx.view.spec
    fastest = _fastest_us(ctx)
    if not _warm(ctx):
        return "Converging", "the pods are new, or their model was just loaded: its first requests may take longer"
    if fastest is not None and fastest > ctx.slo_us:
        return "SLOInfeasible", (
            f"one request alone takes about {duration(fastest)}, so no setting and no number of replicas meets "
            f"spec.slo.latencyP99Milliseconds: {spec.slo.latency_p99_milliseconds}; place the service on a faster "
            "pool, serve a faster model, or raise it above that"
        )
    if batch.trial is not None or batch.changed or scale.changed:
        return "Converging", "the batch settings or replicas were just changed and are being watched"
    if blocked := _blocked(ctx):
        return blocked
    current = ctx.view.replicas or 0
    if scale.needed is not None and scale.needed > current and (lacking := _lacking(ctx, scale.needed)):
        return lacking
    if batch.recommended is not None:
        return "NotAutomatic", (
            f"batch settings {settings_text(batch.recommended)} are recommended, and spec.batching.mode is Recommend: "
            "set it to Auto"
        )
    if batch.memory_bound:
        return "MemoryBound", batch.message
    demand = ctx.demand
    if demand is not None and demand.overloaded and demand.arrivals_per_second < demand.served_per_second:
        return "Draining", "the requests that queued up during an overload are being served"
    if len(ctx.serving) < current or not ctx.observation.rollout_complete or not ctx.estimates.soak_elapsed:
        return "Converging", "replicas are starting, or what was changed last is still being measured"
    return "NoEffectiveAction", (
        "the SLO is missed and no change is predicted to help; latency may come from outside the model (the node's "
        f"CPU, the network, large inputs); `{commands.explain(ctx.view)}` shows what was weighed"
    )


def _missed_for_now(ctx: Context, batch: BatchStep, scale: ScaleStep) -> tuple[str, str]:
    """As `_missed`; while it converges, with the checks that hold the next change back. What is said of a change under
    watch has live numbers.
    """
    reason, message = _missed(ctx, batch, scale)
    held = "; ".join(dict.fromkeys(text for text in (batch.message, scale.message) if text))
    waits = held and reason == "Converging" and batch.trial is None
    return reason, f"{message}; for now: {held}" if waits else message


def slo_met(ctx: Context, batch: BatchStep, scale: ScaleStep) -> ConditionUpdate:
    kind = "SLOMet"
    demand = ctx.demand
    if demand is None:
        return _without_metrics(ctx, kind, "whether the SLO is met is not known")
    if demand.failing:
        reason, message = failing.at_fault(ctx.view, demand, repair.reloaded(ctx))
        return ConditionUpdate(kind, FALSE, reason, message)
    if demand.silent_pods:
        return ConditionUpdate(kind, FALSE, "NoAnswer", failing.without_answer(ctx.view, demand.silent_pods))
    if demand.idle:
        return ConditionUpdate(kind, TRUE, "NoTraffic", "no request has come in the metrics window")
    if ctx.estimates.slo_violated or (demand.p99_us is not None and demand.p99_us > ctx.slo_us):
        return ConditionUpdate(kind, FALSE, *_missed_for_now(ctx, batch, scale))
    if demand.p99_us is None:
        return ConditionUpdate(kind, UNKNOWN, "NoLatencyYet", "requests come, their p99 is not known yet")
    return ConditionUpdate(kind, TRUE, "WithinSLO", f"p99 is within {plain(ctx.slo_us / 1000, 6)} ms")


def scaling_active(ctx: Context, scale: ScaleStep) -> ConditionUpdate:
    """Whether the replicas follow the demand, and what spec.scaling.replicas has to do with it."""
    update = _scaling_active(ctx, scale)
    scaling = ctx.view.spec.scaling
    if scaling.replicas is None or scaling.mode is not ScalingMode.AUTO:
        return update
    ignored = (
        f"; spec.scaling.replicas: {scaling.replicas} has no effect in mode Auto: set spec.scaling.mode to "
        '"Off" to have it obeyed, or remove it'
    )
    return replace(update, message=update.message + ignored)


def _scaling_active(ctx: Context, scale: ScaleStep) -> ConditionUpdate:
    kind = "ScalingActive"
    mode, requested = ctx.view.spec.scaling.mode, ctx.view.spec.scaling.replicas
    if mode is ScalingMode.OFF:
        if requested is not None:
            text = f"spec.scaling.mode is Off: the replicas are those of spec.scaling.replicas, {requested}"
        else:
            command = commands.scale(ctx.view, "N")
            text = f"spec.scaling.mode is Off: replicas are left to you; type `{command}` to set them"
        return ConditionUpdate(kind, TRUE, "Off", text)
    if ctx.demand is None:
        return _without_metrics(ctx, kind, "the replicas are held")
    if blocked := _blocked(ctx):  # more would not start either
        return ConditionUpdate(kind, FALSE, *blocked)
    if scale.needed is not None and (beyond := _beyond_bounds(ctx, scale.needed)):
        return ConditionUpdate(kind, FALSE, *beyond)
    if ctx.view.pool and ctx.view.pool.doubtful:
        text = f"{ctx.view.pool.doubtful}; the replicas that run stay until the demand needs fewer"
        return ConditionUpdate(kind, UNKNOWN, "CapacityUnknown", text)
    if mode is ScalingMode.RECOMMEND:
        return ConditionUpdate(
            kind, TRUE, "Recommending", "spec.scaling.mode is Recommend: see status.replicas.recommended"
        )
    if ctx.estimates.curve is None and not ctx.demand.idle:
        return ConditionUpdate(kind, UNKNOWN, "Learning", "the service time is not learned yet")
    return ConditionUpdate(kind, TRUE, "Steady", "the replicas follow the demand")


def _with_others(ctx: Context, settings: BatchSettings) -> str:
    """The serving pods that report other settings, in words; what a pod has not reported is not known."""
    names = [p.name for p in ctx.serving if p.settings is not None and p.settings != settings]
    return f"pod {names[0]}" if len(names) == 1 else count(len(names), "pod") if names else ""


def _limited(ctx: Context, batch: BatchStep) -> ConditionUpdate | None:
    """Why no larger batches are tried where that is the model's fault, or a server's refusal of what is asked for."""
    batching = ctx.view.spec.batching
    if batching.mode is BatchingMode.FIXED:
        found, fix = Blocked(batch.rejected).by(ctx.settings), "correct the model, or change spec.batching.fixed"
    else:
        found = Blocked(batch.rejected).limit(batching.max_batch_size.max)
        fix = "correct the model, or set spec.batching.maxBatchSize.max below that"
        if found is not None and found.blocked_by is BlockedBy.REFUSED:
            return None  # the servers accept what is in force; what they refuse is reported with it
    if found is None:
        return None
    text = f"{block_text(found.blocked_by, found.reason)}; max_batch_size stays below {found.settings.max_batch_size}"
    return ConditionUpdate("BatchTuned", FALSE, found.blocked_by.value, f"{text}: {fix}")


def _refused(ctx: Context, batch: BatchStep) -> str:
    """What a server has refused, as an addition to what is in force; empty: nothing."""
    found = Blocked(batch.rejected).limit(ctx.view.spec.batching.max_batch_size.max)
    if found is None or found.blocked_by is not BlockedBy.REFUSED:
        return ""
    refused = f"{settings_text(found.settings)} and larger are not asked for again of this model"
    return f"; {refused}: {block_text(found.blocked_by, found.reason)}"


def batch_tuned(ctx: Context, batch: BatchStep) -> ConditionUpdate:
    kind = "BatchTuned"
    mode = ctx.view.spec.batching.mode
    if batch.trial is None and (limited := _limited(ctx, batch)) is not None:
        return limited
    if mode is BatchingMode.FIXED:
        if others := _with_others(ctx, ctx.settings):
            text = f"spec.batching.fixed {settings_text(ctx.settings)} is being loaded; not in force yet on {others}"
            return ConditionUpdate(kind, FALSE, "Loading", text)
        return ConditionUpdate(kind, TRUE, "Fixed", f"spec.batching.fixed is in force: {settings_text(ctx.settings)}")
    if batch.trial is not None:
        trial = batch.trial
        if trial.pod is None and (others := _with_others(ctx, trial.settings)):
            text = f"{settings_text(trial.settings)} is being loaded; not in force yet on {others}"
            return ConditionUpdate(kind, FALSE, "Loading", text)
        where = f"on pod {trial.pod}" if trial.pod else "on all pods"
        return ConditionUpdate(kind, FALSE, "Watching", f"{settings_text(trial.settings)} is being watched {where}")
    if ctx.demand is None:
        return _without_metrics(ctx, kind, "the batch settings are held")
    if batch.recommended is not None:
        return ConditionUpdate(
            kind,
            FALSE,
            "Recommended",
            f"{settings_text(batch.recommended)} is recommended: set spec.batching.mode to Auto",
        )
    if batch.memory_bound:
        return ConditionUpdate(kind, FALSE, "MemoryBound", batch.message)
    if ctx.estimates.curve is None:
        return ConditionUpdate(kind, UNKNOWN, "Learning", "no request has shown yet how long the model takes")
    return ConditionUpdate(
        kind,
        TRUE,
        "Tuned",
        f"no setting is predicted to be clearly better than {settings_text(batch.settings)}{_refused(ctx, batch)}",
    )


def load_balanced(ctx: Context) -> ConditionUpdate:
    kind = "LoadBalanced"
    if ctx.demand is None:
        return _without_metrics(ctx, kind, "how the load is spread is not known")
    if ctx.demand.faulty_pods:
        text = "a pod that fails requests answers at once, and draws them from the others; see SLOMet"
        return ConditionUpdate(kind, UNKNOWN, "PodFailing", text)
    if ctx.demand.silent_pods:
        text = "a pod that answers nothing gets fewer requests or none; see SLOMet"
        return ConditionUpdate(kind, UNKNOWN, "NoAnswer", text)
    if ctx.unloaded:
        names = ", ".join(ctx.unloaded[:5])
        return ConditionUpdate(
            kind,
            FALSE,
            "ReplicaWithoutLoad",
            f"no share of the load reaches {names}: clients keep their connections to other pods; use gRPC (its "
            "connections are renewed every 5 s), or a proxy that balances per request",
        )
    return ConditionUpdate(kind, TRUE, "Spread", "every replica gets its share of the load")


def conditions(ctx: Context, batch: BatchStep, scale: ScaleStep) -> tuple[ConditionUpdate, ...]:
    return (
        metrics_available(ctx),
        slo_met(ctx, batch, scale),
        scaling_active(ctx, scale),
        batch_tuned(ctx, batch),
        load_balanced(ctx),
    )
