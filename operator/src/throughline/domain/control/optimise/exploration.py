"""Exploration: changes that are tried although no candidate has a better objective, where only a trial can show their
gain, or where they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.domain.control.optimise.memory import memory_allows
from throughline.domain.control.predict.outcome import evaluate
from throughline.domain.control.tuning import CLEAR, NOISE, STEP_FACTOR

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.control.predict.outcome import Candidate, Problem
    from throughline.domain.control.predict.situation import Situation


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """A change that pays, beside what is in force and the other candidates."""

    best: Candidate
    current: Candidate
    options: Sequence[Candidate]
    larger_batch: bool = False  # its gain will only be measured
    one_more_instance: bool = False  # an instance, in place


def _larger_batch(
    at: Situation, problem: Problem, blocked: Container[BatchSettings], options: Sequence[Candidate]
) -> ProposedChange | None:
    """Larger batches than have ever been seen, where those that may be come full. What they cost is extrapolated from
    smaller ones, and on real hardware often less: only a trial can show it, and without one the loop would stay at the
    sizes it knows.
    """
    demand, known, size = at.demand, at.estimates.learned, at.settings.max_batch_size
    most = at.view.spec.batching.max_batch_size.max
    if demand is None or known is None or demand.mean_batch is None or not at.short:
        return None
    if size >= most or known.largest_batch > size or demand.mean_batch < (1.0 - CLEAR) * size:
        return None
    larger = min(most, STEP_FACTOR * size)
    target = at.settings.model_copy(update={"max_batch_size": larger})
    while target in blocked and larger > 2 * size:
        larger //= 2
        target = at.settings.model_copy(update={"max_batch_size": larger})
    if target in blocked or not memory_allows(at.observation, target):
        return None
    current, candidate = evaluate(problem, at.settings), evaluate(problem, target)
    if (current.feasible and not candidate.feasible) or candidate.objective < (1.0 - NOISE) * current.objective:
        return None
    return ProposedChange(candidate, current, options, larger_batch=True)


def _one_more_instance(at: Situation, problem: Problem, blocked: Container[BatchSettings]) -> ProposedChange | None:
    """One more instance on a busy server, for the idle time between two executions, where closed-loop clients would get
    more by it and open-loop arrivals no less: the kind of load is not always known, and no model is reloaded for it.
    """
    demand, known, instances = at.demand, at.estimates.learned, at.settings.instances
    if demand is None or not demand.saturated or known is None or known.largest_batch <= 1:
        return None
    target = at.settings.model_copy(update={"instances": instances + 1})
    if instances >= at.view.spec.batching.instances.max or target in blocked:
        return None
    current, candidate = evaluate(problem, at.settings), evaluate(problem, target)
    if candidate.closed_per_second < (1.0 + NOISE) * current.closed_per_second:
        return None
    if candidate.capacity_per_second < current.capacity_per_second or not memory_allows(at.observation, target):
        return None
    return ProposedChange(candidate, current, (), one_more_instance=True)


def exploration(
    at: Situation, problem: Problem, blocked: Container[BatchSettings], options: Sequence[Candidate]
) -> ProposedChange | None:
    """A change that may be tried although no candidate has a better objective."""
    return _larger_batch(at, problem, blocked, options) or _one_more_instance(at, problem, blocked)
