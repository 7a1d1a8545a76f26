"""What can be seen of the world: the scrapes as Prometheus would answer from them, and live samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.observed import PodMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.simulate.server import Counters, Replica
    from throughline.simulate.world import GatewaySample, World

# Prometheus takes a series for gone when its newest sample is older than this.
LOOKBACK_SECONDS = 300.0


def _window(pod: Replica, now: float, seconds: float) -> list[tuple[float, Counters, int, int]]:
    return [s for s in pod.samples if s[0] > now - seconds]


def pod_metrics(pod: Replica, now: float, window_seconds: float) -> PodMetrics | None:
    """PromQL's rate() over the window; None with fewer than two samples in it, as rate() has no value then."""
    samples = _window(pod, now, window_seconds)
    if len(samples) < 2:
        return None
    (t0, a, _, _), (t1, b, waiting, _) = samples[0], samples[-1]
    dt = t1 - t0
    mean_t = sum(s[0] for s in samples) / len(samples)
    mean_q = sum(s[2] for s in samples) / len(samples)
    slope = sum((s[0] - mean_t) * (s[2] - mean_q) for s in samples) / sum((s[0] - mean_t) ** 2 for s in samples)
    return PodMetrics(
        success_rate=(b.success - a.success) / dt,
        failure_rate=0.0,
        items_rate=(b.success - a.success) / dt,
        executions_rate=(b.executions - a.executions) / dt,
        request_us_rate=(b.request_us - a.request_us) / dt,
        queue_us_rate=(b.queue_us - a.queue_us) / dt,
        compute_us_rate=(b.compute_us - a.compute_us) / dt,
        pending=float(waiting),
        pending_growth_rate=slope,
        p99_us=pod.p99_us,
        age_seconds=now - t1,
        cancelled_rate=(b.cancelled - a.cancelled) / dt,
    )


class WorldLook:
    """`types.Look` over a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def now_seconds(self) -> float:
        return self._world.now

    @property
    def replicas(self) -> int:
        return self._world.ordered

    @property
    def ready(self) -> int:
        return len(self._world.ready)

    def _seen(self) -> list[Replica]:
        """Pods with a sample that Prometheus still shows."""
        now = self._world.now
        fresh = self._world.scraped_seconds is not None and now - self._world.scraped_seconds < 60.0
        return [p for p in self._world.ready if p.samples] if fresh else []

    def utilization(self) -> float | None:
        shares = []
        for pod in self._seen():
            m = pod_metrics(pod, self._world.now, 2.5 * self._world.environment.scrape_seconds)
            if m is not None:
                # Requests are charged the whole batch's compute, so busy time is executions times the mean of one.
                one = m.compute_us_rate / m.success_rate / 1e6 if m.success_rate else 0.0
                shares.append(min(1.0, m.executions_rate * one / pod.in_force.instances))
        return sum(shares) / len(shares) if shares else None

    def pending(self) -> float | None:
        pods = self._seen()
        return float(sum(p.samples[-1][2] for p in pods)) if pods else None

    def in_flight(self) -> float | None:
        pods = self._seen()
        return float(sum(p.samples[-1][2] + p.samples[-1][3] for p in pods)) if pods else None

    def served_per_second(self, window_seconds: float) -> float | None:
        found = [m for p in self._seen() if (m := pod_metrics(p, self._world.now, window_seconds))]
        return sum(m.success_rate for m in found) if found else None

    def requests_per_second(self, window_seconds: float) -> float | None:
        return self._gateway_rate(window_seconds, lambda sample: sample.requests)

    def late_per_second(self, window_seconds: float) -> float | None:
        return self._gateway_rate(window_seconds, lambda sample: sample.late)

    def _gateway_rate(self, window_seconds: float, counter: Callable[[GatewaySample], int]) -> float | None:
        samples = [s for s in self._world.gateway if s.at_seconds > self._world.now - window_seconds]
        if len(samples) < 2:
            return None
        first, last = samples[0], samples[-1]
        return (counter(last) - counter(first)) / (last.at_seconds - first.at_seconds)

    def concurrency(self, window_seconds: float) -> float | None:
        if self._world.now <= self._world.scrapes_fail_until or not self._world.concurrency:
            return None
        recent = self._world.concurrency[-max(1, int(window_seconds)) :]
        return sum(recent) / len(recent)

    def p99_us(self) -> float | None:
        values = [p.p99_us for p in self._seen() if p.p99_us is not None]
        return max(values, default=None)
