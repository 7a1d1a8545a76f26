"""Carry a change of batch settings on: canary, all pods, passed or rolled back, as `watch` judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.api.model import Probe
from throughline.api.status import Action, BlockedBy
from throughline.domain.control.act.batch_step import BatchStep
from throughline.domain.control.act.growth import overflows
from throughline.domain.control.act.texts import inputs_text
from throughline.domain.control.act.watch import Outcome, Verdict, judge
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.optimise.blocked import blocked
from throughline.domain.control.tuning import AGAIN_SECONDS, STATIONARY
from throughline.domain.records import record, settings_text
from throughline.domain.times import rfc3339

if TYPE_CHECKING:
    from throughline.api.status import DecisionRecord, RejectedSettings, Trial
    from throughline.domain.control.act.context import Context


def _backlog(ctx: Context) -> bool:
    """Whether the servers work off what came while a load kept them from it: its latency tells nothing of settings."""
    demand = ctx.demand
    return (
        ctx.estimates.costly and demand is not None and demand.overloaded
        and demand.arrivals_per_second < (1.0 - STATIONARY) * demand.served_per_second
    )  # fmt: skip


def advance(ctx: Context, trial: Trial, rejected: tuple[RejectedSettings, ...]) -> BatchStep | None:
    """Go on with a change under watch; None: nothing is under watch any more and a new choice may be made."""
    view = ctx.view
    waiting = ctx.problem is not None and ctx.problem.closed_loop
    pods = {p.name for p in ctx.serving if trial.pod in (None, p.name)}
    verdict = judge(
        view, trial, ctx.demand, ctx.slo_us, closed_loop=waiting, since=ctx.observation.failed,
        warm_since=None if pods & set(ctx.estimates.warming_up) else ctx.estimates.warm_since, backlog=_backlog(ctx),
        same_speed=ctx.estimates.at_usual_speed or trial.previous.max_batch_size <= 1,
    )  # fmt: skip
    name = settings_text(trial.settings)
    loaded = any(p.settings == trial.settings for p in ctx.serving)
    hurry = verdict.outcome is Outcome.WATCHING and not ctx.estimates.costly and _overtaken(ctx, trial)
    if hurry:
        verdict = Verdict(Outcome.COMMIT, "not judged, as more arrives than is served")

    def note(action: Action, reason: str, settings: BatchSettings, text: str) -> tuple[DecisionRecord, ...]:
        entry = record(
            ctx.now, action, reason, text, inputs=inputs_text(ctx), replicas=view.replicas or 0, settings=settings
        )
        return (entry,)

    if verdict.outcome is Outcome.WATCHING:
        if trial.pod is None:
            return BatchStep(trial.settings, trial=trial, rejected=rejected, message=verdict.message)
        uids = {p.uid: trial.settings for p in view.pods if p.name == trial.pod}
        return BatchStep(trial.previous, uids, trial, rejected, message=verdict.message)
    if verdict.outcome is Outcome.COMMIT:
        whole = trial.model_copy(update={"pod": None, "started": rfc3339(ctx.now)})
        did = "is in force" if hurry else "did well"
        text = f"canary {name} {did} on pod {trial.pod} ({verdict.message}); now rolled out to all pods"
        lines = note(Action.BATCH, "CanaryPassed", trial.settings, text)
        return BatchStep(trial.settings, trial=whole, rejected=rejected, records=lines, changed=True)
    if verdict.outcome in {Outcome.ROLLBACK, Outcome.NO_GAIN}:
        rejected = _with_verdict(ctx, trial, verdict, rejected)
        text = f"{name} rolled back to {settings_text(trial.previous)}: {verdict.message}"
        lines = note(Action.ROLLBACK, "RolledBack", trial.previous, text)
        return BatchStep(
            trial.previous, rejected=rejected, records=lines, changed=True, message=text,
            worse=trial.settings if verdict.outcome is Outcome.ROLLBACK else None, rolled_back=loaded,
        )  # fmt: skip
    if verdict.outcome is Outcome.CANCEL:
        lines = note(Action.ROLLBACK, "CanaryCancelled", trial.previous, verdict.message)
        return BatchStep(
            trial.previous, rejected=rejected, records=lines, changed=True, message=verdict.message, rolled_back=loaded
        )
    return None


def _overtaken(ctx: Context, trial: Trial) -> bool:
    """Whether open-loop arrivals overflow the pods beside the canary, whose own queue is no reason to hurry."""
    if trial.pod is None or all(p.name != trial.pod or p.settings != trial.settings for p in ctx.serving):
        return False
    peers = measure(ctx.view, ctx.slo_us, [p for p in ctx.serving if p.name != trial.pod])
    return peers is not None and peers.saturated and overflows(peers)


def _with_verdict(
    ctx: Context, trial: Trial, verdict: Verdict, rejected: tuple[RejectedSettings, ...]
) -> tuple[RejectedSettings, ...]:
    """The blocked settings with those that are rolled back. Where requests failed because batches are larger, still
    larger ones would fail, too; where no proof is possible, this block holds for the revision.
    """
    until = rfc3339(ctx.now + AGAIN_SECONDS)
    if not verdict.failing or trial.settings.max_batch_size <= trial.previous.max_batch_size:
        return blocked(rejected, trial.settings, BlockedBy.WORSE, verdict.message, until)
    settings = BatchSettings(max_batch_size=trial.settings.max_batch_size)
    proved = ctx.view.spec.model.probe is Probe.INFERENCE
    return blocked(rejected, settings, BlockedBy.BATCHES_FAIL, verdict.message, until if proved else None)
