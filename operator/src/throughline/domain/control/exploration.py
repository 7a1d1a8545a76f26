"""Exploration: changes that are tried although no candidate has a better objective, where only a trial can show their
gain, or where they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.domain.control.choose import TIE_TOLERANCE, evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.control.blocked import Blocked
    from throughline.domain.control.choose import Candidate, Problem
    from throughline.domain.control.context import Context

# One more instance needs no reload, and is only added where no client loses by it.
MIN_IMPROVEMENT_IN_PLACE = 1.05
# Batches that are this full on a saturated server would be larger if they could; so larger ones by this factor are
# tried then.
FULL = 0.8
LARGER_BATCH_FACTOR = 4
# Share of the memory that a reload, which holds the old and the new model at once, may fill.
MEMORY_LIMIT = 0.95


def memory_allows(ctx: Context, target: BatchSettings, *, whole: bool = False) -> bool:
    """Whether every pod has room for the change: a reload holds both models, instances alone are changed in place; but
    not by the first load since the server started, which is `whole` whatever it changes.

    Without a declared limit there is nothing to run into; with one, unknown use means no.
    """
    now = ctx.settings
    growth = target.instances / now.instances
    in_place = (target.max_batch_size, target.max_queue_delay_microseconds) == (
        now.max_batch_size,
        now.max_queue_delay_microseconds,
    )
    for pod in ctx.serving:
        factor = growth if in_place and pod.loaded_by_api and not whole else 1.0 + growth
        gpu = pod.metrics.gpu_memory_used_ratio if pod.metrics else None
        if gpu is not None and gpu * factor > MEMORY_LIMIT:
            return False
        if ctx.view.memory_limited and (pod.memory_used_ratio is None or pod.memory_used_ratio * factor > MEMORY_LIMIT):
            return False
    return True


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """A change that pays, beside what is in force and the other candidates."""

    best: Candidate
    current: Candidate
    options: Sequence[Candidate]
    larger_batch: bool = False  # its gain will only be measured
    one_more_instance: bool = False  # an instance, in place


def _larger_batch(
    ctx: Context, problem: Problem, blocked: Blocked, options: Sequence[Candidate]
) -> ProposedChange | None:
    """Larger batches than have ever been seen, where those that may be come full. What they cost is extrapolated from
    smaller ones, and on real hardware often less: only a trial can show it, and without one the loop would stay at the
    sizes it knows.
    """
    demand, known, size = ctx.demand, ctx.state.estimate, ctx.settings.max_batch_size
    most = ctx.view.spec.batching.max_batch_size.max
    if demand is None or known is None or demand.mean_batch is None or not ctx.short:
        return None
    if size >= most or known.largest_batch > size or demand.mean_batch < FULL * size:
        return None
    larger = min(most, LARGER_BATCH_FACTOR * size)
    target = ctx.settings.model_copy(update={"max_batch_size": larger})
    while target in blocked and larger > 2 * size:
        larger //= 2
        target = ctx.settings.model_copy(update={"max_batch_size": larger})
    if target in blocked or not memory_allows(ctx, target):
        return None
    current, candidate = evaluate(problem, ctx.settings), evaluate(problem, target)
    if (current.feasible and not candidate.feasible) or candidate.objective < TIE_TOLERANCE * current.objective:
        return None
    return ProposedChange(candidate, current, options, larger_batch=True)


def _one_more_instance(ctx: Context, problem: Problem, blocked: Blocked) -> ProposedChange | None:
    """One more instance on a busy server, for the idle time between two executions, where closed-loop clients would get
    more by it and open-loop arrivals no less: the kind of load is not always known, and no model is reloaded for it.
    """
    demand, known, instances = ctx.demand, ctx.state.estimate, ctx.settings.instances
    if demand is None or not demand.saturated or known is None or known.largest_batch <= 1:
        return None
    target = ctx.settings.model_copy(update={"instances": instances + 1})
    if instances >= ctx.view.spec.batching.instances.max or target in blocked:
        return None
    current, candidate = evaluate(problem, ctx.settings), evaluate(problem, target)
    gains = candidate.closed_per_second >= MIN_IMPROVEMENT_IN_PLACE * current.closed_per_second
    if not gains or candidate.capacity_per_second < current.capacity_per_second or not memory_allows(ctx, target):
        return None
    return ProposedChange(candidate, current, (), one_more_instance=True)


def exploration(
    ctx: Context, problem: Problem, blocked: Blocked, options: Sequence[Candidate]
) -> ProposedChange | None:
    """A change that may be tried although no candidate has a better objective."""
    return _larger_batch(ctx, problem, blocked, options) or _one_more_instance(ctx, problem, blocked)
