"""How long the core takes to decide, and how that grows.

In CPU time, so that others on the machine are not counted; what the shell does to see a service is not, either.
"""

from __future__ import annotations

import copy
import gc
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import BatchStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.control.loop import decide
from throughline.domain.control.model.queueing import p99_us
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import BatchStatistic, LiveQueue, PodMetrics, PodView, PoolView, ServiceView
from throughline.domain.records import with_records
from throughline.runtime import collector

from e2e.report import Figure, at_most

SETTINGS = BatchSettings(max_batch_size=32, instances=2)  # type: ignore[call-arg]
BEGIN_SECONDS = 1_700_000_000.0
LOOK_SECONDS = 10
WINDOW_LOOKS = 6
REPLICAS = 2
BATCHES = (1, 2, 4, 8)
BETA_US = 200
CONVERGED_LOOKS = 36
STEADY_LOOKS = 18
POOL = PoolView("gpu", ServingPoolSpec.model_validate({"nodeSelector": {"a": "b"}, "costPerHour": "2"}), 100, 10)


@dataclass
class Service:
    """A busy service of two replicas with Poisson arrivals, and what the operator knows of it; no two are alike."""

    index: int
    settings: BatchSettings = SETTINGS
    replicas: int = REPLICAS
    state: ControllerState = field(default_factory=ControllerState)
    status: InferenceServiceStatus = field(default_factory=InferenceServiceStatus)
    written: dict[str, Any] = field(default_factory=dict)  # the status as the API server has it

    def __post_init__(self) -> None:
        index = self.index
        self.rng = random.Random(index)  # noqa: S311
        self.spec = InferenceServiceSpec.model_validate(
            {
                "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
                "slo": {"latencyP99Milliseconds": 50 + index % 100},
                "placement": {"pools": [{"name": "gpu"}]},
                "scaling": {"minReplicas": REPLICAS},
            }
        )
        self.rate = 100.0 + index * 7919 % 40_009 / 100  # of one replica
        self.curve = ServiceTimeModel(1000.0 + index * 104_729 % 7993, BETA_US)
        self.rows = {b: (1000, round(1e6 * self.curve.service_us(b, 1))) for b in BATCHES}
        self.window = deque([self.rate] * WINDOW_LOOKS, WINDOW_LOOKS)

    def serve(self) -> None:
        """What comes to each of its replicas until the next look."""
        mean = self.rate * LOOK_SECONDS
        items = max(0, round(self.rng.gauss(mean, mean**0.5)))
        self.window.append(items / LOOK_SECONDS)
        each, rest = divmod(items, sum(BATCHES))
        for batch, (executions, compute_ns) in self.rows.items():
            more = each + rest if batch == 1 else each
            took = self.rng.gauss(1000.0, 20.0) * self.curve.service_us(batch, 1) * more
            self.rows[batch] = (executions + more, compute_ns + round(took))

    def view(self, now_seconds: float) -> ServiceView:
        rate = sum(self.window) / len(self.window)
        p99 = p99_us(self.curve, self.settings, rate) * self.rng.uniform(1.0, 1.1)
        metrics = PodMetrics(
            success_rate=rate, failure_rate=0, items_rate=rate, executions_rate=rate / 4, request_us_rate=rate * 8000,
            queue_us_rate=rate * 2000, compute_us_rate=rate * 5000, pending=1, pending_growth_rate=0, p99_us=p99,
            age_seconds=2,
        )  # fmt: skip
        rows = tuple(BatchStatistic(batch, *row) for batch, row in self.rows.items())
        pods = tuple(
            PodView(
                name=f"{self.index}-{i}", uid=f"{self.index}-{i}", ip="10.0.0.1", ready=True,
                ready_seconds=600 + now_seconds - BEGIN_SECONDS, terminating=False, template_hash="t", revision="r",
                settings=self.settings, metrics=metrics, batch_statistics=rows, queue=LiveQueue(1, 0),
            )
            for i in range(self.replicas)
        )  # fmt: skip
        return ServiceView(
            now_seconds=now_seconds, name=f"m{self.index}", namespace="ns", generation=1, spec=self.spec,
            status=self.status, pool=POOL, pods=pods, replicas=self.replicas, settings=self.settings, model_hash="r",
            metrics_unavailable=None, metrics_window_seconds=60, metrics_time_seconds=now_seconds,
        )  # fmt: skip


def look(services: list[Service], number: int, *, apply: bool = True) -> float:
    """Seconds that the decisions of one look at all of them took."""
    now = BEGIN_SECONDS + number * LOOK_SECONDS
    views = [service.view(now) for service in services]
    gc.collect()  # of what the bench left behind
    began = time.process_time()
    made = [decide(view, service.state) for view, service in zip(views, services, strict=True)]
    took = time.process_time() - began
    for service, (decision, state) in zip(services, made, strict=True):
        service.state = state
        service.serve()
        if not apply:
            continue
        service.settings, service.replicas = decision.settings, decision.replicas or service.replicas
        status = InferenceServiceStatus(
            control=decision.control,
            decisions=with_records(service.status.decisions, decision.records),
            replicas=ReplicaStatus(desired=service.replicas),
            batch=BatchStatus(settings=decision.settings),
            slo=decision.slo,
        )
        wire = status.to_wire()
        if wire != service.written:
            # As it comes back from the API server: equal, and not the same object; parsed once for each version.
            service.status, service.written = InferenceServiceStatus.model_validate(wire), wire
    return took


def converged(count: int) -> list[Service]:
    """Services after their settings have been chosen, watched, and have become as old as a p99 must be that counts."""
    services = [Service(i) for i in range(count)]
    for number in range(CONVERGED_LOOKS):
        look(services, number)
    return services


def steady(services: list[Service]) -> list[float]:
    """Seconds of each look, over three minutes."""
    return [look(services, CONVERGED_LOOKS + i) for i in range(STEADY_LOOKS)]


def anew(count: int) -> float:
    """Seconds of a look at which each service must be decided anew, and each decision is a change of its settings."""
    services = [Service(i) for i in range(count)]
    look(services, 0, apply=False)
    return look(services, 1, apply=False)


def run() -> list[Figure]:
    """Steady services over three minutes, services that must all be decided anew, and the growth of both."""
    services = converged(1000)
    collector.settle()  # as the operator does
    # Each with state of its own, as it would be after as many looks at ten times as many.
    more = [*services, *(copy.deepcopy(s) for _ in range(9) for s in services)]
    large = steady(more)
    small = steady(converged(1000))
    mean = sum(small) / len(small)
    few, many = anew(1000), anew(10_000)
    return [
        at_most("one decision for each of 1,000 steady services, mean look", mean * 1000, "ms", 100),
        Figure("one decision for each of 1,000 steady services, worst look", max(small) * 1000, "ms"),
        at_most("one decision for each of 1,000 services, all anew", few * 1000, "ms", 100),
        at_most(
            "steady: time per decision at 10,000 services over 1,000", sum(large) / len(large) / mean / 10, "×", 1.5
        ),
        at_most("anew: time per decision at 10,000 services over 1,000", many / few / 10, "×", 1.5),
    ]
