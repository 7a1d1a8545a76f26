"""The arrivals: what came from sample to sample, and the demand that is to be provided for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.control.estimate.analogues import exceeded, highest
from throughline.domain.control.estimate.forecast import SAMPLES_KEPT, ArrivalSample, follow, forecast
from throughline.domain.control.estimate.season import expected
from throughline.domain.control.observe.observation import SUMMARY_SECONDS, recently_started
from throughline.domain.control.tuning import MIN_SAMPLE_SECONDS, SAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.control.estimate.budget import Budget
    from throughline.domain.control.estimate.forecast import Forecast
    from throughline.domain.control.estimate.season import Season
    from throughline.domain.control.observe.counters import Since
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.control.observe.observation import Observation, Queue


def with_sample(
    samples: tuple[ArrivalSample, ...], at_seconds: float, seconds: float, arrivals: float
) -> tuple[ArrivalSample, ...]:
    return (*samples[1 - SAMPLES_KEPT :], follow(samples[-1] if samples else None, at_seconds, seconds, arrivals))


def arrived(since: Since, seconds: float, demand: Demand, waiting: Queue, *, recently_started: bool) -> float:
    """Items per second that came between two samples. `recently_started`: pods have just come."""
    if since.queued is not None:
        unserved = since.queued / seconds
    else:
        # Where pods have just come, what the scrapes say of the queue is of before, and is being served now.
        unserved = 0.0 if recently_started else waiting.growth_per_second + demand.cancelled_per_second
    return max(0.0, since.executed_items / seconds + unserved * demand.items_per_request)


def with_new_sample(samples: tuple[ArrivalSample, ...], observation: Observation) -> tuple[ArrivalSample, ...]:
    """With what has come since the last sample: what the servers' counters say was served, and what the queue grew."""
    demand, waiting = observation.demand, observation.state.queue_seen
    if demand is None or waiting is None:
        return samples
    now, since, seconds = observation.now, observation.since, observation.counters_seconds
    if since is None:
        recent = samples and now - samples[-1].at_seconds < SUMMARY_SECONDS
        if recent or not observation.new_metrics:
            return samples
        arrivals, seconds = demand.arrivals_per_second, observation.view.metrics_window_seconds
    elif seconds < MIN_SAMPLE_SECONDS:
        return samples
    else:
        started = recently_started(observation.serving)
        arrivals = arrived(since, seconds, demand, waiting, recently_started=started)
        left = observation.left_share
        # Nearer to what those that stay would be counted to serve than to all: then as much as before is taken to come.
        if left and samples and arrivals < (1.0 - left / 2) * samples[-1].per_second:
            arrivals = samples[-1].per_second
    return with_sample(samples, now, seconds, arrivals)


def forecast_demand(
    demand: Demand, samples: Sequence[ArrivalSample], season: Season, horizon_seconds: float, floor_per_second: float,
    *, scaling: bool, calm_per_second: float | None = None, budget: Budget | None = None,
) -> tuple[Forecast | None, float]:  # fmt: skip
    """The forecast, and the target demand in items per second. `scaling`: replicas were just ordered. `budget`: of
    late requests; None: demand follows from how it is served, so that its past says nothing.
    """
    held_back = max(0.0, demand.wanted_per_second - demand.arrivals_per_second)
    # The arrivals at overloaded servers are of a backlog, too: the past does not bound them.
    past = season.bins[:-1] if budget is not None and not demand.overloaded else ()
    seen = forecast(samples, horizon_seconds, highest(past)) if samples else None
    if seen is not None and budget is not None and not demand.idle:
        chance, discounted = budget.chance, budget.discounted
        seen = seen.at_least(exceeded(past, seen.now, horizon_seconds, chance=chance, discounted=discounted))
    if seen is not None and (again := expected(season, samples[-1].at_seconds, horizon_seconds)) is not None:
        seen = seen.at_least(again)
    coming = demand.wanted_per_second
    if seen is not None:
        # A backlog, and clients held back by latency, are not in the arrivals. Replicas that were just ordered are for
        # those; what still arrives beyond is measured.
        unmoved = calm_per_second is not None and abs(seen.now - calm_per_second) <= SAME * calm_per_second
        open_loop = demand.queue_stationary and (unmoved or demand.given_up)
        coming = seen.ahead + (0.0 if scaling or open_loop else held_back)
    # Recently started pods, or a queue, make the load look uneven.
    skew = 1.0 if scaling or demand.saturated else demand.skew
    return seen, max(coming * skew, floor_per_second * demand.items_per_request)
