"""A small world in virtual time: Poisson arrivals, pods with Triton's batcher, and metrics as a scrape shows them.

It drives `decide` itself, so that the loop can be watched for minutes of traffic in a second of test.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import BatchStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.control.loop import decide
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import BatchStatistic, PodMetrics, PodView, PoolView, ServiceView, Unavailable
from throughline.domain.records import with_records

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings


QUOTA = 'pods "m-1" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2'


@dataclass
class Pod:
    """One replica: a queue, a batcher and instances that run `service_us(b, k)`."""

    name: str
    born: float
    ready_at: float
    settings: BatchSettings
    queue: deque = field(default_factory=deque)
    running: list = field(default_factory=list)
    log: deque = field(default_factory=deque)  # (finish time, latency µs, queue µs, compute µs, batch, first of batch)
    statistics: dict = field(default_factory=dict)
    weight: float = 1.0
    failing: bool = False
    loads: list = field(default_factory=list)  # times of its loads
    cold: int = 0  # executions to come that are slow
    loaded_by_api: bool = False

    def execution_seconds(self, warm_us, cold):
        """Of the next execution. `cold`: (executions after a load that are slow, seconds of each)."""
        if self.cold <= 0:
            return warm_us / 1e6
        self.cold -= 1
        return max(cold[1], warm_us / 1e6)


class World:
    def __init__(
        self,
        service_us,
        rate,
        *,
        spec=None,
        slo_ms=1000,
        seed=1,
        start_seconds=15.0,
        pool_replicas=None,
        window=20.0,
        status=None,
        cold=(0, 0.0),
        **scaling,
    ):
        self.service_us, self.rate, self.rng = service_us, rate, random.Random(seed)
        document = spec or {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": slo_ms},
            "placement": {"pools": [{"name": "gpu"}]},
            "scaling": {"maxReplicas": 10, "scaleDownStabilizationSeconds": 60, **scaling},
            "batching": {"instances": {"min": 1, "max": 2}},
        }
        self.spec = InferenceServiceSpec.model_validate(document)
        self.status = status or InferenceServiceStatus()
        self.state = ControllerState()
        self.pool_replicas, self.window, self.start_seconds = pool_replicas, window, start_seconds
        self.cold = cold
        self.now, self.pods, self.count = 1_700_000_000.0, [], 0
        self.replicas = self.durable = None
        self.generation = 1
        self.latencies: list[tuple[float, float]] = []
        self.changes: list[tuple[float, str]] = []
        self.unavailable: Unavailable | None = None
        self.closed = self.doubtful = ""  # of the pool's nodes
        self.quota: int | None = None  # pods that the API server lets in
        self.refuse: set[BatchSettings] = set()
        self.refused: list[tuple[BatchSettings, str]] = []
        self.decision = None

    # ------------------------------------------------------------------ traffic

    def _start(self, pod, now):
        limit, k = max(1, pod.settings.max_batch_size), pod.settings.instances
        delay = pod.settings.max_queue_delay_microseconds / 1e6 if limit > 1 else 0.0
        while len(pod.running) < k and pod.queue and (len(pod.queue) >= limit or now >= pod.queue[0] + delay - 1e-9):
            size = min(limit, len(pod.queue))
            arrivals = [pod.queue.popleft() for _ in range(size)]
            service = pod.execution_seconds(self.service_us(size, k), self.cold)
            heapq.heappush(pod.running, (now + service, now, arrivals))

    def _advance(self, pod, until):
        """Finish what ends before `until`."""
        while True:
            delay = pod.settings.max_queue_delay_microseconds / 1e6
            next_finish = pod.running[0][0] if pod.running else float("inf")
            timer = pod.queue[0] + delay if pod.queue and len(pod.running) < pod.settings.instances else float("inf")
            at = min(next_finish, timer)
            if at > until:
                return
            if next_finish <= timer:
                finish, began, arrivals = heapq.heappop(pod.running)
                compute = (finish - began) * 1e6
                for i, arrival in enumerate(arrivals):
                    latency = (finish - arrival) * 1e6
                    pod.log.append((finish, latency, (began - arrival) * 1e6, compute, i == 0))
                    self.latencies.append((finish, latency))
                executions, total = pod.statistics.get(len(arrivals), (0, 0))
                pod.statistics[len(arrivals)] = (executions + 1, total + int(compute * 1000))
            self._start(pod, at)

    def run(self, seconds, interval=5.0, *, deciding=True):
        """Traffic, and one decision every `interval` seconds."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            stop = self.now + interval
            serving = [p for p in self.pods if p.ready_at <= self.now]
            at = self.now
            rate = self.rate(self.now) if callable(self.rate) else self.rate
            weights = [p.weight for p in serving]
            while serving and rate > 0:
                at += self.rng.expovariate(rate)
                if at >= stop:
                    break
                pod = self.rng.choices(serving, weights)[0]
                self._advance(pod, at)
                pod.queue.append(at)
                self._start(pod, at)
            for pod in self.pods:
                self._advance(pod, stop)
            self.now = stop
            if deciding:
                self.decide()

    # ------------------------------------------------------------------ the loop

    def metrics(self, pod):
        recent = [x for x in pod.log if x[0] > self.now - self.window]
        while pod.log and pod.log[0][0] < self.now - 60:
            pod.log.popleft()
        minute = sorted(x[1] for x in pod.log)
        w = self.window
        failed = len(recent) / w if pod.failing else 0.0
        pending = float(len(pod.queue))
        growth = (pending - getattr(pod, "pending", 0.0)) / 5.0
        pod.pending = pending
        return PodMetrics(
            success_rate=len(recent) / w - failed,
            failure_rate=failed,
            items_rate=len(recent) / w,
            executions_rate=sum(x[4] for x in recent) / w,
            request_us_rate=sum(x[1] for x in recent) / w,
            queue_us_rate=sum(x[2] for x in recent) / w,
            compute_us_rate=sum(x[3] for x in recent) / w,
            pending=pending,
            pending_growth_rate=growth,
            p99_us=minute[int(0.99 * len(minute))] if minute else None,
            age_seconds=2.0,
        )

    def view(self):
        pods = tuple(
            PodView(
                name=p.name,
                uid=p.name,
                ip="10.0.0.1",
                ready=p.ready_at <= self.now,
                ready_seconds=max(0.0, self.now - p.ready_at),
                terminating=False,
                template_hash="t",
                revision="r",
                settings=p.settings,
                metrics=self.metrics(p) if self.unavailable is None and p.ready_at <= self.now else None,
                loaded_by_api=p.loaded_by_api,
                batch_statistics=tuple(BatchStatistic(b, n, ns) for b, (n, ns) in sorted(p.statistics.items())),
            )
            for p in self.pods
        )
        pool_spec = ServingPoolSpec.model_validate({"nodeSelector": {"a": "b"}, "costPerHour": "2"})
        refused, self.refused = tuple(self.refused), []
        return ServiceView(
            now_seconds=self.now,
            name="m",
            namespace="ns",
            generation=self.generation,
            spec=self.spec,
            status=self.status,
            pool=PoolView("gpu", pool_spec, self.pool_replicas, 1, self.closed, self.doubtful),
            pods=pods,
            replicas=self.replicas,
            settings=self.durable,
            model_hash="r",
            metrics_unavailable=self.unavailable,
            metrics_window_seconds=self.window,
            refused_settings=refused,
            pods_refused=QUOTA if self.quota is not None and (self.replicas or 0) > self.quota else None,
        )

    def pod(self, name, start_seconds):
        return Pod(name, self.now, self.now + start_seconds, self.durable)

    def decide(self):
        decision, self.state = decide(self.view(), self.state)
        before = (self.replicas, self.durable)
        if decision.replicas is not None:
            self.replicas = decision.replicas
        if decision.settings in self.refuse:
            self.refused.append((decision.settings, "cannot load"))
        else:
            self.durable = decision.settings
        if (self.replicas, self.durable) != before:
            self.changes.append((self.now, f"{self.replicas} × {self.durable}"))
        while len(self.pods) < min(self.replicas or 0, self.quota or sys.maxsize):
            self.count += 1
            start = 0.0 if not self.pods and self.count == 1 else self.start_seconds
            self.pods.append(self.pod(f"p{self.count}", start))
            self.pods[-1].cold = self.cold[0]
        while len(self.pods) > (self.replicas or 0):
            gone = self.pods.pop()
            if self.pods:
                self.pods[0].queue.extend(gone.queue)
                gone.queue.clear()
        for pod in self.pods:
            wanted = decision.pod_settings.get(pod.name, self.durable)
            if pod.settings != wanted:
                pod.settings = wanted
                pod.statistics = {}
                pod.cold, pod.loaded_by_api = self.cold[0], True
                pod.loads.append(self.now)
                self._start(pod, self.now)
        self.decision = decision
        self.status = InferenceServiceStatus(
            observed_generation=self.generation,
            control=decision.control,
            decisions=with_records(self.status.decisions, decision.records),
            replicas=ReplicaStatus(
                desired=self.replicas or 0, ready=len(self.pods), recommended=decision.recommended_replicas
            ),
            batch=BatchStatus(settings=self.durable, recommended=decision.recommended_settings),
            slo=decision.slo,
        )

    # ------------------------------------------------------------------ what is asserted

    def p99_ms(self, last_seconds):
        recent = sorted(lat for t, lat in self.latencies if t > self.now - last_seconds)
        return recent[int(0.99 * len(recent))] / 1000

    def condition(self, kind):
        return next(c for c in self.decision.conditions if c.type == kind)

    def ledger(self):
        return [(d.action.value, d.reason, d.message) for d in self.status.decisions]


def linear(alpha_ms, beta_ms, contention=0.0):
    """s_k(b) in µs."""
    return lambda b, k: 1000 * (alpha_ms + beta_ms * b) * (1 + contention * (k - 1))
