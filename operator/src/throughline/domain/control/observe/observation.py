"""Observe: one aligned sample of a service, of its pods' counters, Prometheus' metrics and the Kubernetes objects.

The two clocks meet here and nowhere else: metrics are of a window that ended when Prometheus was asked, the servers'
counters of the time since they were last read.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from throughline.api import quantities
from throughline.domain.control.model.bounds import clamp, lower_bounds
from throughline.domain.control.observe import failures
from throughline.domain.control.observe.counters import Counted, Seen, failed_since, growth, since_last_sample
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.tuning import (
    CLEAR,
    MIN_COUNT,
    MIN_SAMPLE_SECONDS,
    NOISE,
    SAMPLE_INTERVAL_SECONDS,
    SAMPLES,
    SETTLE_SECONDS,
)
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.status import ControlStatus
    from throughline.domain.control.observe.counters import Failed, Since
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.observed import PodView, ServiceView

# Triton's latency summary covers this long, so a p99 is of the present settings only when they are older.
SUMMARY_SECONDS = 60.0


class Queue(NamedTuple):
    """What waits, as last scraped."""

    scraped_seconds: float
    waiting: float  # requests
    growth_per_second: float  # since the scrape before


class ObserverState(NamedTuple):
    """What an observation needs of those before it. Written by `observe`, and by the fast path in its place."""

    # What every sample changes, in the order of `after_fast_path`.
    counted: Counted = Counted()  # the servers' counters in the last sample; the estimator's are of the last full pass
    metrics_time_seconds: float | None = None  # of the last sample of the metrics
    queue_seen: Queue | None = None
    open_pods: int = 0  # that requests may have gone to in the last sample: those that served, and those that left
    since_seconds: float | None = None  # when this state began; a window is judged only once it is full
    # pod name → since when no share of the load has reached it
    unloaded_since: Mapping[str, float] = MappingProxyType({})
    settings_since: tuple[Hashable, float] | None = None  # settings in force and since when they are seen on every pod

    def after_fast_path(self, counted: Counted, metrics_time_seconds: float | None, queue_seen: Queue) -> ObserverState:
        """As `_replace`, which takes four times as long: it asks for each of the fields."""
        return ObserverState._make((counted, metrics_time_seconds, queue_seen, *self[3:]))

    def on_pool(self) -> ObserverState:
        """On another pool, whose pods have counters of their own."""
        return ObserverState(metrics_time_seconds=self.metrics_time_seconds, since_seconds=self.since_seconds)


class Observation(NamedTuple):
    """Everything that was seen in one pass, and nothing that was concluded."""

    view: ServiceView
    control: ControlStatus  # what was persisted of this model on this pool
    settings: BatchSettings  # in force, within the bounds
    slo_us: float
    serving: tuple[PodView, ...]
    demand: Demand | None  # None: no metrics, which is not zero
    max_replicas: int  # of spec and pool: growth ends there; what already runs in the pool stays
    price_per_hour: float  # of one replica
    state: ObserverState
    new_metrics: bool  # Prometheus was asked since the last observation
    metrics_seconds: float  # since it was asked before; 0: the same metrics, or the first
    counters_seconds: float  # since the counters were read before
    since: Since | None  # what came meanwhile, by the counters; None: they do not say
    left_share: float  # of the arrivals since then, that may have gone to pods that leave, or have left
    idle_us: float | None  # between two executions of one instance that has enough to do; None: there was none
    failed: Mapping[str, Failed]  # since the last observation, by pod uid

    @property
    def now(self) -> float:
        return self.view.now_seconds

    @property
    def observe_seconds(self) -> float:
        """How long after a change the measurements are of what is now."""
        return self.view.metrics_window_seconds + SETTLE_SECONDS

    def seconds_since(self, timestamp: str | None) -> float:
        return math.inf if timestamp is None else self.now - unix_seconds(timestamp)

    @property
    def scaling(self) -> bool:
        """Replicas were ordered so lately that the measurements do not show yet what they do."""
        starting = len(self.serving) < (self.view.replicas or 0)
        return starting or self.seconds_since(self.control.last_scale_change) < self.observe_seconds

    @property
    def rollout_complete(self) -> bool:
        """Every serving pod was seen to have the settings in force."""
        settings = self.settings
        for pod in self.serving:
            if pod.settings is not settings and pod.settings != settings:
                return False
        return bool(self.serving)


def sampled_seconds(view: ServiceView) -> float:
    """When Prometheus was asked for what is seen here."""
    return view.metrics_time_seconds if view.metrics_time_seconds is not None else view.now_seconds


@lru_cache(maxsize=1024)
def price_of(cost_per_hour: str) -> float:
    return float(quantities.parse(cost_per_hour))


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
    return len(serving) > 1 and any(p.ready_seconds < SAMPLES * SAMPLE_INTERVAL_SECONDS for p in serving)


def teaching(observation: Observation) -> tuple[tuple[PodView, ...], frozenset[str]]:
    """(the pods whose executions tell of the model on this pool, uids of those among them that fail so many requests
    that they do not: what fails takes no time).
    """
    view, failed = observation.view, observation.failed
    here = observation.serving
    if any(p.elsewhere for p in here):
        here = tuple(p for p in here if not p.elsewhere)  # others tell of other hardware
    window = view.metrics_window_seconds
    return here, frozenset(
        p.uid
        for p in here
        if (p.uid in failed and failures.tell(failed[p.uid].failed) and failed[p.uid].share > NOISE)
        or (p.metrics and failures.beyond(p.metrics.failure_rate, p.metrics.success_rate, NOISE, window))
    )


def _left_share(serving: int, open_pods: int, before: int) -> float:
    """`Observation.left_share`. Clients keep their connections until a server ends, so that one that drains still
    serves its part; then they go to the others. Neither is a change of the demand.
    """
    pods = max(before, open_pods)
    return 1.0 - serving / pods if pods else 0.0


def _idle_us(view: ServiceView, serving: Sequence[PodView], before: Counted, demand: Demand | None) -> float | None:
    """`Observation.idle_us`: while the servers have all the work they can do, and their queues neither grow nor shrink,
    what an instance is not busy is the time between two of its executions.
    """
    seconds = view.now_seconds - before.updated_seconds
    if demand is None or not (demand.saturated and demand.queue_stationary) or seconds < MIN_SAMPLE_SECONDS:
        return None
    idle_us = executions = 0.0
    devices = view.devices
    for pod in serving:
        seen = before.seen.get(pod.uid)
        if seen is None or seen.at_seconds != before.updated_seconds or pod.settings is None:
            continue
        grown = growth(seen, Seen(pod.settings, pod.batch_statistics))
        count, busy_us = sum(n for _, n, _ in grown), sum(us for _, _, us in grown)
        whole_us = 1e6 * seconds * pod.settings.instances * devices
        if count >= MIN_COUNT and busy_us >= (1.0 - CLEAR) * whole_us:
            idle_us += max(0.0, whole_us - busy_us)
            executions += count
    return idle_us / executions if executions else None


def _settings_since(
    state: ObserverState, view: ServiceView, serving: Sequence[PodView], demand: Demand | None, settings: BatchSettings
) -> tuple[Hashable, float] | None:
    """`ObserverState.settings_since`: an overloaded pod's latency tells how long it has been overloaded, nothing of the
    settings.
    """
    calm = demand is not None and not demand.overloaded
    if not (calm and serving and all(p.settings == settings for p in serving)):
        return None
    key, since = (settings, view.replicas, len(serving)), state.settings_since
    return (key, view.now_seconds) if since is None or since[0] != key else since


def _counted(serving: Sequence[PodView], before: Counted, now_seconds: float) -> Counted:
    """The counters of the pods; of those that were not asked, as they were. Another pool is other hardware."""
    seen: dict[str, Seen] = {}
    for pod in serving:
        if pod.settings is not None and pod.batch_statistics and not pod.elsewhere:
            seen[pod.uid] = Seen(pod.settings, pod.batch_statistics, now_seconds, pod.queue)
        elif pod.uid in before.seen:
            seen[pod.uid] = before.seen[pod.uid]
    return Counted(seen, now_seconds)


def observe(view: ServiceView, control: ControlStatus, state: ObserverState) -> Observation:
    """The observation of this view, with the state for the next. `control`: what is persisted of model and pool."""
    batching = view.spec.batching
    if batching.mode == "Fixed" and batching.fixed is not None:
        settings = batching.fixed
    else:
        settings = clamp(view.settings or view.status.batch.settings or lower_bounds(batching), batching)
    slo_us, serving = view.spec.slo.latency_p99_milliseconds * 1000.0, view.serving
    demand = None if view.metrics_unavailable else measure(view, slo_us)
    max_replicas = view.spec.scaling.max_replicas
    if view.pool and view.pool.capacity_replicas is not None:
        max_replicas = min(max_replicas, max(view.pool.capacity_replicas, view.held, 1))
    now, sampled, counted = view.now_seconds, sampled_seconds(view), state.counted
    seconds = now - counted.updated_seconds
    open_pods = len(serving) + sum(p.terminating for p in view.pods)
    metrics_time, queue_seen, unloaded, since, new_metrics = (
        state.metrics_time_seconds, state.queue_seen, state.unloaded_since, None, False,
    )  # fmt: skip
    if demand is not None:
        queue_seen = queue(view, serving, queue_seen, demand)
        since = since_last_sample(counted, serving, seconds) if counted.updated_seconds else None
        if sampled != metrics_time:  # woken by something else: the same sample twice is no second observation
            metrics_time, new_metrics = sampled, True
            unloaded = {name: unloaded.get(name, now) for name in demand.unloaded}
    return Observation(
        view=view,
        control=control,
        settings=settings,
        slo_us=slo_us,
        serving=serving,
        demand=demand,
        max_replicas=max_replicas,
        price_per_hour=price_of(view.pool.spec.cost_per_hour) if view.pool else 0.0,
        state=ObserverState(
            counted=_counted(serving, counted, now),
            metrics_time_seconds=metrics_time,
            queue_seen=queue_seen,
            open_pods=open_pods,
            since_seconds=now if state.since_seconds is None else state.since_seconds,
            unloaded_since=unloaded,
            settings_since=_settings_since(state, view, serving, demand, settings),
        ),
        new_metrics=new_metrics,
        metrics_seconds=sampled - (state.metrics_time_seconds or sampled),
        counters_seconds=seconds,
        since=since,
        left_share=_left_share(len(serving), open_pods, state.open_pods),
        idle_us=_idle_us(view, serving, counted, demand),
        failed=failed_since(counted, serving, now),
    )
