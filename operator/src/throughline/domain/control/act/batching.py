"""The batch settings: whether others are better, and when a change to them may start. `rollout` carries it on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from throughline.api.batching import BatchingMode, BatchSettings
from throughline.api.status import Action, BlockedBy, RejectedSettings, Trial
from throughline.domain.control.act.batch_step import BatchStep
from throughline.domain.control.act.growth import awaited, overflows
from throughline.domain.control.act.rollout import advance
from throughline.domain.control.act.texts import alternative, inputs_text, predicted_text
from throughline.domain.control.optimise.blocked import Blocked, block_text, current
from throughline.domain.control.optimise.proposal import propose
from throughline.domain.control.tuning import (
    CLEAR,
    FREE_URGENT_CHANGES,
    HOUR_SECONDS,
    LOAD_SHARE,
    SAMPLE_INTERVAL_SECONDS,
    SETTLED_SECONDS,
)
from throughline.domain.formatting import count, number, plain
from throughline.domain.records import record, settings_text
from throughline.domain.times import rfc3339, unix_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.status import Alternative, DecisionRecord
    from throughline.domain.control.act.context import Context
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.control.optimise.exploration import ProposedChange
    from throughline.domain.control.predict.outcome import Candidate, Problem

BETTER = "BetterSettings"  # reason of the record of better settings


def alternatives(
    ctx: Context, options: Sequence[Candidate], chosen: Candidate, current: Candidate
) -> list[Alternative]:
    """The chosen point, the present one and a few that lost, each with the reason."""
    rows = [alternative(chosen, "chosen")]
    if current.settings != chosen.settings:
        rows.append(alternative(current, "in force"))
    shown = {chosen.settings, current.settings}
    rest = sorted((o for o in options if o.settings not in shown), key=lambda o: (o.replicas, -o.objective))
    sizes = {chosen.settings.max_batch_size}
    for candidate in rest:
        if candidate.settings.max_batch_size in sizes:
            continue
        sizes.add(candidate.settings.max_batch_size)
        if candidate.needed is None:
            verdict = f"p99 cannot be within {plain(ctx.slo_us / 1000, 6)} ms"
        elif not candidate.feasible:
            verdict = f"needs {count(candidate.needed, 'replica')}, {ctx.observation.max_replicas} may run"
        elif candidate.replicas > chosen.replicas:
            verdict = "costs more"
        else:
            verdict = "less room for bursts"
        rows.append(alternative(candidate, verdict))
    return rows


def _pause_seconds(changes: Sequence[float], now_seconds: float, *, free: int) -> float:
    """Twice as long for each change of the last hour beyond the first `free`."""
    recent = sum(at > now_seconds - HOUR_SECONDS for at in changes)
    return min(HOUR_SECONDS, SETTLED_SECONDS * 2.0 ** max(0, recent - free))


def _cool_down_seconds(ctx: Context, *, free: int) -> float:
    """How long after the last change the next may come; the first `free` of the last hour are not counted."""
    paid = 0.0 if ctx.estimates.slo_violated else ctx.estimates.load_seconds / LOAD_SHARE
    return max(ctx.observation.observe_seconds, paid, _pause_seconds(ctx.state.batch_changes, ctx.now, free=free))


def _times(factor: float) -> str:
    """Small factors to the per cent, as a change that pays may bring no more than a few."""
    return f"{number(factor)}×" if factor >= 2 else f"{factor:.2f}×"


def _gain_text(proposed: ProposedChange) -> str:
    best, current = proposed.best, proposed.current
    if proposed.larger_batch:
        return f"batches of {current.settings.max_batch_size} come full, and larger ones were never seen"
    if proposed.one_more_instance:
        gain = best.closed_per_second / max(current.closed_per_second, 1e-9)
        return f"{_times(gain)} the throughput of closed-loop clients, no less for others"
    if best.replicas != current.replicas or not current.feasible:
        enough = f"{count(best.replicas, 'replica')} {'suffices' if best.replicas == 1 else 'suffice'}"
        if not best.feasible:
            return f"lower latency with {count(best.replicas, 'replica')}, which still misses the SLO"
        if current.needed is None:
            return f"{enough}; with the settings in force no number of replicas meets the SLO"
        return f"{enough} instead of {current.needed}"
    if best.objective > 0 and current.objective > 0:
        return f"{_times(min(best.objective / current.objective, 99))} the headroom"
    return "some headroom where there is none"


def _unmeasured(ctx: Context, problem: Problem) -> str:
    """What will be known in a moment, without which no settings can be chosen; empty: all is."""
    if ctx.estimates.warming_up:
        return f"the model is warming up on pod {ctx.estimates.warming_up[0]}: its last load is judged first"
    if problem.for_clients and not (ctx.estimates.slo_violated or ctx.in_flight_converged):
        return "the number of closed-loop clients is still being measured"
    return ""


def _blocked_by(ctx: Context, demand: Demand) -> str:
    """Why no change may be started now, whatever is better; empty: it may."""
    if ctx.estimates.costly and ctx.seconds_since(ctx.control.last_rollback) < HOUR_SECONDS:
        cost = f"{ctx.estimates.load_seconds:.0f} s"
        return f"each load costs about {cost}, and settings were rolled back less than an hour ago"
    if awaited(ctx) and not demand.unloaded:  # replicas that get no load may never be judged
        return "the replicas that were added last are still being judged"
    return ""


def _choose(ctx: Context, rejected: tuple[RejectedSettings, ...], *, pause_seconds: float | None = None) -> BatchStep:
    """Search for better settings, and start the change where it pays."""
    view, demand, problem = ctx.view, ctx.demand, ctx.problem
    if demand is None or problem is None or demand.idle or demand.failing or demand.faulty_pods:
        return BatchStep(ctx.settings, rejected=rejected)  # while requests fail, nothing is learned of settings
    unmeasured = _unmeasured(ctx, problem)
    if message := unmeasured or _blocked_by(ctx, demand):
        return BatchStep(ctx.settings, rejected=rejected, deferred=bool(unmeasured), message=message)
    proposal = propose(ctx, problem, ctx.optimiser, Blocked(rejected))
    proposed = proposal.change
    if proposed is None:
        return BatchStep(
            ctx.settings, rejected=rejected, memory_bound=proposal.memory_bound,
            judged=proposal.judged, message=proposal.message,
        )  # fmt: skip
    best, current, options = proposed.best, proposed.current, proposed.options
    rows = alternatives(ctx, options, best, current)
    why = f"{settings_text(ctx.settings)} → {settings_text(best.settings)}: {_gain_text(proposed)}"

    def entry(action: Action, reason: str, text: str) -> tuple[DecisionRecord, ...]:
        return (
            record(
                ctx.now, action, reason, text, inputs=inputs_text(ctx), predicted=predicted_text(best),
                replicas=best.replicas, settings=best.settings, alternatives=rows,
            ),
        )  # fmt: skip

    if view.spec.batching.mode is BatchingMode.RECOMMEND:
        records = () if view.status.batch.recommended == best.settings else entry(Action.RECOMMEND, BETTER, why)
        return BatchStep(ctx.settings, rejected=rejected, records=records, recommended=best.settings)
    # Better settings are free, the replicas they save are not: no cool-down while the demand asks for more of those.
    urgent = ctx.estimates.slo_violated or not current.feasible or current.replicas > (view.replicas or 0)
    large = problem.closed_loop and not ctx.estimates.costly
    if pause_seconds is None and large and best.closed_per_second >= (1.0 + CLEAR) * current.closed_per_second:
        pause_seconds = max(
            ctx.observation.observe_seconds, SETTLED_SECONDS
        )  # that much is no noise, and it will be measured
    if pause_seconds is None:
        pause_seconds = _cool_down_seconds(ctx, free=FREE_URGENT_CHANGES if urgent or proposed.one_more_instance else 1)
    if not ctx.observation.rollout_complete or ctx.seconds_since(ctx.control.last_batch_change) < pause_seconds:
        text = "waiting for the last change to settle"
        return BatchStep(ctx.settings, rejected=rejected, coming=best, message=text)
    trial = Trial(
        settings=best.settings,
        previous=ctx.settings,
        started=rfc3339(ctx.now),
        baseline_p99_microseconds=round(demand.p99_us) if demand.p99_us is not None else None,
        baseline_mean_microseconds=round(demand.mean_us) if demand.mean_us is not None else None,
        baseline_rate_per_second=round(demand.served_per_second),
        baseline_failed_permille=round(1000 * demand.failed_share),
    )
    hurry = not ctx.estimates.costly and (ctx.estimates.slo_violated or (demand.saturated and overflows(demand)))
    if not hurry and len(ctx.serving) > 1:
        pod = min(ctx.serving, key=lambda p: p.name)
        trial = trial.model_copy(update={"pod": pod.name})
        text = f"{why}; canary on pod {pod.name}"
        return BatchStep(
            ctx.settings, {pod.uid: best.settings}, trial, rejected, entry(Action.TRIAL, "CanaryStarted", text),
            changed=True,
        )  # fmt: skip
    return BatchStep(
        best.settings, trial=trial, rejected=rejected, records=entry(Action.BATCH, BETTER, why),
        changed=True,
    )  # fmt: skip


def _preempt(ctx: Context, trial: Trial, rejected: tuple[RejectedSettings, ...]) -> BatchStep | None:
    """A better change in place of the one under watch: while the SLO is missed, what the servers' statistics have shown
    need not wait for the verdict; but where a load costs much, it does.
    """
    if ctx.estimates.costly:
        return None
    learned = ctx.estimates.learned is not None and ctx.estimates.learned.largest_batch > 1
    if not (ctx.estimates.slo_violated and learned and ctx.seconds_since(trial.started) >= SAMPLE_INTERVAL_SECONDS):
        return None
    step = _choose(ctx, rejected, pause_seconds=SAMPLE_INTERVAL_SECONDS)
    return step if step.changed else None


def _of_fixed(ctx: Context) -> tuple[RejectedSettings, ...]:
    """What is blocked of spec.batching.fixed. Any change of the spec is a reason to ask again."""
    found = current([] if _edited(ctx) else ctx.control.rejected, ctx.view)
    return tuple(r for r in found if r.blocked_by is not BlockedBy.WORSE)


def _below(ctx: Context, rejected: tuple[RejectedSettings, ...]) -> BatchStep | None:
    """Away from settings in force that a proof has shown to be wrong for this model, such as those that its predecessor
    had; None: they are not.
    """
    by, least = Blocked(rejected).by(ctx.settings), ctx.view.spec.batching.max_batch_size.min
    if by is None or by.blocked_by is BlockedBy.WORSE or ctx.settings.max_batch_size <= least:
        return None
    below = 2 ** ((by.settings.max_batch_size - 1).bit_length() - 1)  # the largest power of two that is smaller
    settings = ctx.settings.model_copy(update={"max_batch_size": max(least, below)})
    text = f"{settings_text(ctx.settings)} rolled back: {block_text(by.blocked_by, by.reason)}"
    entry = record(
        ctx.now, Action.ROLLBACK, "RolledBack", text, inputs=inputs_text(ctx), replicas=ctx.view.replicas or 0,
        settings=settings,
    )  # fmt: skip
    return BatchStep(settings, rejected=rejected, records=(entry,), changed=True, message=text, rolled_back=True)


def _edited(ctx: Context) -> bool:
    """The spec has changed since the last pass: a reason to ask everything again."""
    return ctx.view.generation != ctx.view.status.observed_generation


def _standing(ctx: Context, rejected: tuple[RejectedSettings, ...]) -> BatchSettings | None:
    """What mode Recommend showed last of this spec, model and pool, unless it was blocked since: it stands until it is
    judged again, also while no request comes and while metrics are missing.
    """
    view, settings, control = ctx.view, ctx.view.status.batch.recommended, ctx.view.status.control
    pool = view.pool.name if view.pool is not None else ""
    known = not _edited(ctx) and (control.model_hash, control.pool) == (view.model_hash, pool)
    return settings if known and settings is not None and settings not in Blocked(rejected) else None


def _advised_lately(ctx: Context) -> bool:
    """Whether advice is so new that it stays, as settings would."""
    given = [
        unix_seconds(entry.time)
        for entry in ctx.view.status.decisions
        if entry.action is Action.RECOMMEND and entry.reason == BETTER
    ]
    return bool(given) and ctx.now - max(given) < _pause_seconds(given, ctx.now, free=1)


def _recommend(ctx: Context, rejected: tuple[RejectedSettings, ...]) -> BatchStep:
    """Mode Recommend: nothing is applied."""
    chosen = _choose(ctx, rejected)
    standing = _standing(ctx, rejected)
    answered = chosen.recommended is not None or chosen.judged is not None
    if standing is None or chosen.memory_bound or (answered and not _advised_lately(ctx)):
        return chosen
    return replace(chosen, recommended=None if standing == ctx.settings else standing, records=())


def step(ctx: Context) -> BatchStep:
    """The settings of this pass."""
    batching = ctx.view.spec.batching
    if batching.mode is BatchingMode.FIXED:
        return BatchStep(ctx.settings, rejected=_of_fixed(ctx))
    rejected = current(ctx.control.rejected, ctx.view)
    if batching.mode is BatchingMode.RECOMMEND:
        return _recommend(ctx, rejected)
    trial = ctx.control.trial
    if trial is not None:
        going_on = advance(ctx, trial, rejected)
        if going_on is not None:
            watched = going_on.trial is trial and trial.pod is None
            return (_preempt(ctx, trial, rejected) if watched else None) or going_on
    if (step_down := _below(ctx, rejected)) is not None:
        return step_down
    return _choose(ctx, rejected)


def advised(ctx: Context, batch: BatchStep) -> BatchSettings | None:
    """What mode Recommend shows: better settings, or those in force where none is better. None: not known yet.

    Without a request nothing is better than what is in force.
    """
    if ctx.view.spec.batching.mode is not BatchingMode.RECOMMEND or batch.recommended is not None:
        return batch.recommended
    idle = ctx.demand is not None and ctx.demand.idle and ctx.estimates.curve is not None
    known = idle or batch.judged is not None or _standing(ctx, batch.rejected) == ctx.settings
    return ctx.settings if known else None
