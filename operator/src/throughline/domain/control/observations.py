"""What one sample of the service adds to the state: what arrived since the last, what waits, what has just started."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control import failures
from throughline.domain.control.counters import Counted, Seen, failed_since, growth, since_last_sample
from throughline.domain.control.failures import MIN_FAILED
from throughline.domain.control.forecast import SAMPLES_KEPT, ArrivalSample, follow
from throughline.domain.control.season import learn
from throughline.domain.control.service_time import observe
from throughline.domain.control.service_time_fit import MIN_EXECUTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.domain.control.counters import Failed, Since
    from throughline.domain.control.demand import Demand
    from throughline.domain.control.state import ControllerState
    from throughline.domain.observed import PodView, ServiceView

# Triton's latency summary covers this long, so a p99 is of the present settings only when they are older.
SUMMARY_SECONDS = 60.0
SMOOTHING = 0.3
# Two samples nearer than this are one.
MIN_SAMPLE_SECONDS = 4.0
# Instances that are busy for less than this share of the time wait for requests, not for their server.
KEPT_BUSY = 0.7
START_BOUNDS_SECONDS = (5.0, 600.0)
RECENTLY_STARTED_SECONDS = 45.0
# Where more of a pod's requests fail than this, its executions teach nothing: times would be off by as much.
TEACHING_SHARE = 0.05


class Queue(NamedTuple):
    """What waits, as last scraped."""

    scraped_seconds: float
    waiting: float  # requests
    growth_per_second: float  # since the scrape before


def sampled_seconds(view: ServiceView) -> float:
    """When Prometheus was asked for what is seen here."""
    return view.metrics_time_seconds if view.metrics_time_seconds is not None else view.now_seconds


def queue(view: ServiceView, serving: Sequence[PodView], before: Queue | None, demand: Demand) -> Queue:
    """The queue now; `before` where nothing was scraped since."""
    age, waiting, growth = math.inf, 0.0, 0.0
    for pod in serving:
        metrics = pod.metrics
        if metrics is not None:
            age = min(age, metrics.age_seconds)
            waiting += metrics.pending
            growth += metrics.pending_growth_rate
    scraped = sampled_seconds(view) - (age if age < math.inf else 0.0)
    if before is not None and scraped - before[0] < MIN_SAMPLE_SECONDS:
        return before
    if before is None:
        return Queue(scraped, waiting, growth if demand.saturated else 0.0)
    # Only a saturated server's queue says something of the arrivals; a short one comes and goes.
    return Queue(scraped, waiting, (waiting - before[1]) / (scraped - before[0]) if demand.saturated else 0.0)


def recently_started(serving: Sequence[PodView]) -> bool:
    """Pods have come so lately that what is served is a backlog, too."""
    return len(serving) > 1 and any(p.ready_seconds < RECENTLY_STARTED_SECONDS for p in serving)


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


def _left_share(serving: int, open_pods: int, state: ControllerState) -> float:
    """The share of the arrivals since the last sample that may have gone to pods that leave, or have left.

    Clients keep their connections until a server ends, so that one that drains still serves its part; then they go to
    the others. Neither is a change of the demand.
    """
    pods = max(state.open_pods, open_pods)
    return 1.0 - serving / pods if pods else 0.0


def _with_new_sample(
    view: ServiceView, serving: Sequence[PodView], open_pods: int, state: ControllerState, demand: Demand,
    waiting: Queue,
) -> tuple[ArrivalSample, ...]:  # fmt: skip
    """Add what has come since the last sample: what the servers' counters say was served, and what the queue grew."""
    counted, samples = state.counted, state.samples
    seconds = view.now_seconds - counted.updated_seconds
    since = since_last_sample(counted, serving, seconds) if counted.updated_seconds else None
    if since is None:
        recent = samples and view.now_seconds - samples[-1].at_seconds < SUMMARY_SECONDS
        if recent or sampled_seconds(view) == state.metrics_time_seconds:
            return samples
        arrivals, seconds = demand.arrivals_per_second, view.metrics_window_seconds
    elif seconds < MIN_SAMPLE_SECONDS:
        return samples
    else:
        arrivals = arrived(since, seconds, demand, waiting, recently_started=recently_started(serving))
        left = _left_share(len(serving), open_pods, state)
        # Nearer to what those that stay would be counted to serve than to all: then as much as before is taken to come.
        if left and samples and arrivals < (1.0 - left / 2) * samples[-1].per_second:
            arrivals = samples[-1].per_second
    return with_sample(samples, view.now_seconds, seconds, arrivals)


def _started(view: ServiceView, ready: int, state: ControllerState) -> tuple[float | None, float]:
    """(`ordered_seconds`, `start_seconds`): learn how long replicas take from their order until they serve."""
    ordered, start = state.ordered_seconds, state.start_seconds
    if view.replicas is not None and ready < view.replicas:
        return view.now_seconds if ordered is None else ordered, start
    if ordered is None:
        return None, start
    took = min(max(view.now_seconds - ordered, START_BOUNDS_SECONDS[0]), START_BOUNDS_SECONDS[1])
    return None, (start + took) / 2


def smoothed(before: float | None, in_flight: float, ready: int) -> float:
    """`ControllerState.in_flight`: items at the server, of one replica."""
    per_replica = in_flight / max(1, ready)
    return per_replica if before is None else before + SMOOTHING * (per_replica - before)


def _inter_execution_idle_us(
    view: ServiceView, serving: Sequence[PodView], state: ControllerState, demand: Demand | None
) -> float:
    """`ControllerState.inter_execution_idle_us` with this sample: while the servers have all the work they can do, and
    their queues neither grow nor shrink, what an instance is not busy is the time between two of its executions.
    """
    known, before = state.inter_execution_idle_us, state.counted
    seconds = view.now_seconds - before.updated_seconds
    if demand is None or not (demand.saturated and demand.queue_stationary) or seconds < MIN_SAMPLE_SECONDS:
        return known
    idle_us = executions = 0.0
    devices = view.devices
    for pod in serving:
        seen = before.seen.get(pod.uid)
        if seen is None or seen.at_seconds != before.updated_seconds or pod.settings is None:
            continue
        grown = growth(seen, Seen(pod.settings, pod.batch_statistics))
        count, busy_us = sum(n for _, n, _ in grown), sum(us for _, _, us in grown)
        whole_us = 1e6 * seconds * pod.settings.instances * devices
        if count >= MIN_EXECUTIONS and busy_us >= KEPT_BUSY * whole_us:
            idle_us += max(0.0, whole_us - busy_us)
            executions += count
    if not executions:
        return known
    return known + SMOOTHING * (idle_us / executions - known) if known else idle_us / executions


def _failing(view: ServiceView, pods: Sequence[PodView], failed: Mapping[str, Failed]) -> frozenset[str]:
    """Uids of the pods that fail so many requests that what they execute does not tell how long an answer takes: what
    fails takes no time.
    """
    window = view.metrics_window_seconds
    return frozenset(
        p.uid
        for p in pods
        if (p.uid in failed and failed[p.uid].failed >= MIN_FAILED and failed[p.uid].share > TEACHING_SHARE)
        or (p.metrics and failures.beyond(p.metrics.failure_rate, p.metrics.success_rate, TEACHING_SHARE, window))
    )


def update(
    view: ServiceView,
    serving: tuple[PodView, ...],
    state: ControllerState,
    demand: Demand | None,
    settings: BatchSettings,
) -> ControllerState:
    """The state with this sample."""
    key = (settings, view.replicas, len(serving))
    # An overloaded pod's latency tells how long it has been overloaded, nothing of the settings.
    calm = demand is not None and not demand.overloaded
    in_force = calm and bool(serving) and all(p.settings == settings for p in serving)
    since = state.settings_since
    if not in_force:
        since = None
    elif since is None or since[0] != key:
        since = (key, view.now_seconds)
    ordered, start = _started(view, len(serving), state)
    here = serving
    if any(p.elsewhere for p in serving):
        here = tuple(p for p in serving if not p.elsewhere)  # others tell of other hardware
    failed = failed_since(state.counted, serving, view.now_seconds)
    estimator = observe(state.estimator, here, view.now_seconds, _failing(view, here, failed))
    open_pods = len(serving) + sum(p.terminating for p in view.pods)
    samples, queue_seen, in_flight = state.samples, state.queue_seen, state.in_flight
    unloaded, metrics_time = state.unloaded_since, state.metrics_time_seconds
    if demand is not None:
        queue_seen = queue(view, serving, queue_seen, demand)
        samples = _with_new_sample(view, serving, open_pods, state, demand, queue_seen)
        if (
            sampled_seconds(view) != metrics_time
        ):  # woken by something else: the same sample twice is no second observation
            metrics_time = sampled_seconds(view)
            unloaded = {name: unloaded.get(name, view.now_seconds) for name in demand.unloaded}
            in_flight = smoothed(in_flight, demand.in_flight, len(serving))
    return state._replace(
        estimator=estimator,
        counted=Counted(estimator.seen, estimator.updated_seconds),
        model_hash=view.model_hash,
        settings_since=since,
        since_seconds=view.now_seconds if state.since_seconds is None else state.since_seconds,
        ordered_seconds=ordered,
        start_seconds=start,
        samples=samples,
        season=learn(state.season, samples),
        queue_seen=queue_seen,
        in_flight=in_flight,
        inter_execution_idle_us=_inter_execution_idle_us(view, serving, state, demand),
        open_pods=open_pods,
        unloaded_since=unloaded,
        metrics_time_seconds=metrics_time,
        failed=failed,
    )
