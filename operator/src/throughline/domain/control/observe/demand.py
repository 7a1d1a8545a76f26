"""How much arrives, how evenly it is spread, and whether what is measured is all that wants to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.observe import failures
from throughline.domain.control.tuning import (
    MOST_GROWTH,
    MOST_GROWTH_AGAIN,
    NOISE,
    OVERLOADED,
    SAME,
    SAMPLE_INTERVAL_SECONDS,
    SATURATED,
    SETTLED_SECONDS,
    STATIONARY,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.observed import PodView, ServiceView

# Fewer requests a second than this are none.
IDLE_PER_SECOND = 0.01


class Demand(NamedTuple):
    """Rates are items per second over the whole service."""

    arrivals_per_second: float
    wanted_per_second: float  # arrivals, backlog and clients held back by latency
    served_per_second: float
    requests_per_second: float
    failures_per_second: float
    cancelled_per_second: float
    items_per_request: float
    in_flight: float  # items at the server, over all pods (Little's law)
    mean_us: float | None  # request time at the server
    p99_us: float | None  # mean of the pods', by traffic
    saturated: bool
    overloaded: bool  # saturated, and a queue has made latency unbearable: what is measured is how long that has lasted
    queue_stationary: bool  # the queue neither grows nor shrinks
    mean_batch: float | None  # items per execution
    skew: float  # busiest pod over the mean, 1 when even
    unloaded: tuple[str, ...]  # names of pods that get no share of the load in this window
    failing: bool = False  # a larger share of the requests fails than spec.slo allows
    faulty_pods: tuple[str, ...] = ()  # names of pods that fail most of their requests
    silent_pods: tuple[str, ...] = ()  # names of pods at which requests wait, and none is answered

    @property
    def failed_share(self) -> float:
        failed = self.failures_per_second
        return failed / (failed + self.requests_per_second) if failed > 0.0 else 0.0

    @property
    def given_up(self) -> bool:
        """Whether many requests are given up, by their clients or a queue policy: then the arrivals are open-loop, and
        the queue grows no further for that reason. Who waits for answers does not give up and send again.
        """
        return self.cancelled_per_second > NOISE * self.requests_per_second

    @property
    def idle(self) -> bool:
        return self.requests_per_second + self.failures_per_second < IDLE_PER_SECOND and self.in_flight < 1


def utilization(pod: PodView, devices: int) -> float:
    """Busy share of a pod's instances on all its devices: executions per second times the mean time of one."""
    m = pod.metrics
    if m is None or pod.settings is None or m.success_rate <= 0:
        return 0.0
    execution_seconds = m.compute_us_rate / m.success_rate / 1e6
    return m.executions_rate * execution_seconds / (pod.settings.instances * devices)


def _spread(judged: Sequence[tuple[str, float]], mean_rate: float) -> tuple[tuple[str, ...], float]:
    """(names of the pods that get no share of the load, busiest over the mean) of pods that have been ready for long,
    with their rates, where the mean of all is that.
    """
    rates = [rate for _, rate in judged]
    unloaded: tuple[str, ...] = ()
    if mean_rate >= 1.0 and min(rates) < SAME * mean_rate:
        unloaded = tuple(name for name, rate in judged if rate < SAME * mean_rate)
    skew = max(rates) / mean_rate if mean_rate > 0 and len(rates) > 1 else 1.0
    return unloaded, min(MOST_GROWTH, skew) if skew > 1.0 + SAME else 1.0


def _silent(pods: Sequence[PodView], slo_us: float, window_seconds: float) -> tuple[str, ...]:
    return tuple(
        p.name
        for p in pods
        if p.ready_seconds >= SETTLED_SECONDS and p.metrics and failures.silent(p.metrics, slo_us, window_seconds)
    )


def measure(view: ServiceView, slo_us: float, serving: Sequence[PodView] | None = None) -> Demand | None:
    """The demand over the pods that serve; None when none of them has metrics (Unknown, not zero). `serving`: those of
    the view, where the caller has them already.
    """
    # One walk over the pods, as this is done in every sample of every service.
    requests = failed = items = growth = pending = cancelled = request_us = executions = 0.0
    # Quantiles of several pods cannot be merged; their mean by traffic is near the whole's while load is even, and
    # above it where one pod is worse than the others. The worst pod's alone grows with the number of pods by chance.
    p99_sum = p99_weight = 0.0
    saturated = False
    devices = view.devices
    allowed, window = view.spec.slo.allowed_failures, view.metrics_window_seconds
    faulty: tuple[str, ...] = ()
    count = 0
    judged: list[tuple[str, float]] = []
    pods = view.serving if serving is None else serving
    for pod in pods:
        m = pod.metrics
        if m is None:
            continue
        count += 1
        success = m.success_rate
        if pod.ready_seconds >= SETTLED_SECONDS:
            judged.append((pod.name, success + m.failure_rate))
        requests += success
        if m.failure_rate > 0.0:
            failed += m.failure_rate
            if failures.faulty(m, allowed, window):
                faulty = (*faulty, pod.name)
        items += m.items_rate
        growth += m.pending_growth_rate
        pending += m.pending
        request_us += m.request_us_rate
        cancelled += m.cancelled_rate
        executions += m.executions_rate
        if m.p99_us is not None:
            weight = max(success, 1e-9)
            p99_sum += m.p99_us * weight
            p99_weight += weight
        saturated = saturated or utilization(pod, devices) > SATURATED
    if count == 0:
        return None
    per_request = items / requests if requests > 0 else 1.0
    # Of the whole service: what waits on one pod now has waited on another before.
    in_flight = max(request_us / 1e6, pending)
    # A queue that grows takes in more than is served, one that shrinks less; and what was given up had come, too.
    arrivals = max(0.0, items + (growth + cancelled) * per_request)
    mean_us = request_us / requests if requests > 0 else None
    p99 = p99_sum / p99_weight if p99_weight > 0 else None
    slow = (p99 is not None and p99 > slo_us) or (mean_us is not None and mean_us > slo_us)
    queue_stationary = abs(growth) < STATIONARY * max(requests, 1.0)
    wanted = arrivals
    if saturated and slow:
        # What is being worked off already, fast enough, needs no further replica: a queue stays on the pod it is in.
        backlog = max(0.0, pending / (2 * SAMPLE_INTERVAL_SECONDS) + min(0.0, growth)) * per_request
        wanted = arrivals + backlog
        if queue_stationary:
            held_back = in_flight * per_request / (slo_us / 1e6)
            wanted = max(wanted, min(held_back, arrivals * MOST_GROWTH_AGAIN))
    unloaded, skew = _spread(judged, (requests + failed) / count) if judged and count > 1 else ((), 1.0)
    return Demand(
        arrivals_per_second=arrivals,
        wanted_per_second=wanted,
        served_per_second=items,
        requests_per_second=requests,
        failures_per_second=failed,
        cancelled_per_second=cancelled,
        items_per_request=per_request,
        in_flight=in_flight * per_request,
        mean_us=mean_us,
        p99_us=p99,
        saturated=saturated,
        overloaded=saturated
        and mean_us is not None
        and mean_us > (OVERLOADED if queue_stationary or growth <= 0 else 0.5) * slo_us,
        queue_stationary=queue_stationary,
        mean_batch=items / executions if executions > 0 else None,
        skew=skew,
        unloaded=unloaded,
        failing=failed > 0.0 and failures.beyond(failed, requests, allowed, window),
        faulty_pods=faulty,
        silent_pods=_silent(pods, slo_us, window) if pending >= 1.0 else (),
    )
