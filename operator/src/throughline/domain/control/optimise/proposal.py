"""Optimise: the settings that serve the demand best, and whether moving to them pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.optimise.choose import Space, candidates, choose, search
from throughline.domain.control.optimise.exploration import ProposedChange, exploration
from throughline.domain.control.optimise.memory import memory_allows
from throughline.domain.control.predict.outcome import evaluate
from throughline.domain.control.tuning import CLEAR, NOISE, SAME
from throughline.domain.records import settings_text

if TYPE_CHECKING:
    from collections.abc import Hashable

    from throughline.domain.control.optimise.blocked import Blocked
    from throughline.domain.control.predict.outcome import Candidate, Problem
    from throughline.domain.control.predict.situation import Situation

JUDGED_KEPT = 4


class OptimalityRange(NamedTuple):
    """A situation in which no settings were found better than those in force, for demand between the two bounds."""

    situation: Hashable  # all but the demand
    low_per_second: float
    high_per_second: float


class OptimiserState(NamedTuple):
    """What an optimisation needs of those before. Written by `after`."""

    judged: tuple[OptimalityRange, ...] = ()  # so that a steady service is not weighed in every sample


class Proposal(NamedTuple):
    """`change` None: the settings stay."""

    change: ProposedChange | None = None
    memory_bound: bool = False  # better settings exist, but not the memory to load them
    judged: OptimalityRange | None = None  # where it was found that nothing is better
    message: str = ""


def after(state: OptimiserState, judged: OptimalityRange | None) -> OptimiserState:
    """The state after a pass."""
    if judged is None or judged in state.judged:
        return state
    return state._replace(judged=(*state.judged, judged)[-JUDGED_KEPT:])


def _meets(at: Situation, problem: Problem) -> bool:
    """Whether the settings in force are measured to meet the SLO at the demand of the problem."""
    demand = at.demand
    if demand is None or demand.p99_us is None or demand.overloaded:
        return False
    if not (at.estimates.soak_elapsed and at.observation.rollout_complete):
        return False
    reached = problem.closed_loop or problem.demand_per_second <= (1.0 + SAME) * demand.served_per_second
    return reached and demand.p99_us <= at.slo_us


def _reduces_replicas(best: Candidate, current: Candidate) -> bool:
    """Whether it needs fewer replicas within the SLO."""
    return best.feasible and best.replicas < current.replicas


def exceeds_switching_cost(at: Situation, problem: Problem, best: Candidate, current: Candidate) -> bool:
    """Whether moving from the settings in force to the best ones pays for the reload."""
    if best.settings == current.settings:
        return False
    if (best.feasible and not current.feasible) or _reduces_replicas(best, current):
        return True
    if current.feasible and not best.feasible:
        return False
    if not best.feasible and best.p99_us > current.p99_us and _meets(at, problem):
        return False  # what meets the SLO is not left for what is predicted to be slower
    if best.settings.instances < current.settings.instances and best.objective >= current.objective:
        return True  # an instance that does no good holds memory
    min_improvement = 1.0 + (NOISE if problem.for_clients else CLEAR)
    return best.objective >= min_improvement * max(current.objective, 1e-9) or (
        not best.feasible and best.p99_us < current.p99_us / (1.0 + CLEAR)
    )


def _judged(problem: Problem, situation: Hashable, current: Candidate) -> OptimalityRange:
    """How far the demand may move before the settings in force may lose: they need as many replicas, and others were
    not found to need fewer, while there is more; nor while there is less, where there cannot be fewer.
    """
    low = high = problem.demand_per_second
    if current.feasible:
        low = 0.0 if current.replicas == max(problem.min_replicas, 1) else low
        high = max(high, current.capacity_per_second * current.replicas / (1.0 + NOISE))
    return OptimalityRange(situation, low, high)


def propose(at: Situation, problem: Problem, state: OptimiserState, blocked: Blocked) -> Proposal:
    """The best settings, where moving to them pays and memory suffices; else why the settings stay."""
    if not at.estimates.at_usual_speed and not at.first_batches:
        text = "the node runs slower than usual, or did a moment ago: replicas make up for that, settings stay"
        return Proposal(message=text)
    seen, meets = at.largest_batch, _meets(at, problem)
    settings, violated = at.settings, at.estimates.slo_violated
    situation = (problem._replace(demand_per_second=0.0), settings, blocked, seen, violated, meets)
    demand = problem.demand_per_second
    for known in state.judged:
        if known.low_per_second <= demand <= known.high_per_second and known.situation == situation:
            tried = exploration(at, problem, blocked, ())
            return Proposal(tried) if tried else Proposal(judged=known)
    space = candidates(at.view.spec.batching, settings, seen, at.slo_us)
    if blocked.entries:
        space = Space(s for s in space if s not in blocked)
    current = evaluate(problem, settings)
    doubted = problem if violated else problem.doubting(settings)
    options = search(doubted, space, current)
    best = choose(options)
    if not exceeds_switching_cost(at, doubted, best, current):
        tried = exploration(at, problem, blocked, options)
        return Proposal(tried) if tried else Proposal(judged=_judged(problem, situation, current))
    if memory_allows(at.observation, best.settings):
        return Proposal(ProposedChange(evaluate(problem, best.settings), current, options))
    options = search(doubted, Space(s for s in space if memory_allows(at.observation, s)), current)
    fitting = choose(options)
    if exceeds_switching_cost(at, doubted, fitting, current):
        return Proposal(ProposedChange(evaluate(problem, fitting.settings), current, options))
    text = (
        f"{settings_text(best.settings)} would be better, but a reload holds the model twice and the memory for "
        "that is not there or not known; raise spec.runtime.resources.limits.memory, or have cAdvisor's "
        "container_memory_working_set_bytes scraped"
    )
    return Proposal(memory_bound=True, message=text)
