"""How long the core takes to decide, and how that grows."""

from __future__ import annotations

import time

from throughline.api.inferenceservice import BatchSettings, InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import InferenceServiceStatus
from throughline.domain.control.loop import LoopMemory, decide
from throughline.domain.observed import BatchStatistic, PodMetrics, PodView, PoolView, ServiceView

from e2e.report import Figure, at_most

SETTINGS = BatchSettings(max_batch_size=32, instances=2)  # type: ignore[call-arg]


def view(index: int, now_seconds: float) -> ServiceView:
    """A busy service of two replicas; no two are alike."""
    spec = InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": 50 + index % 100},
            "placement": {"pools": [{"name": "gpu"}]},
        }
    )
    rate = 100.0 + index % 400
    metrics = PodMetrics(
        success_rate=rate, failure_rate=0, items_rate=rate, executions_rate=rate / 4, request_us_rate=rate * 8000,
        queue_us_rate=rate * 2000, compute_us_rate=rate * 5000, pending=1, pending_growth_rate=0, p99_us=20_000,
        age_seconds=2,
    )  # fmt: skip
    alpha_us = 1000 + 37 * (index % 200)
    rows = tuple(BatchStatistic(b, 1000, 1000 * 1000 * (alpha_us + 200 * b)) for b in (1, 2, 4, 8))
    pods = tuple(
        PodView(
            name=f"{index}-{i}", uid=f"{index}-{i}", ip="10.0.0.1", ready=True, ready_seconds=600, terminating=False,
            template_hash="t", revision="r", settings=SETTINGS, metrics=metrics, batch_statistics=rows,
        )
        for i in range(2)
    )  # fmt: skip
    pool = PoolView("gpu", ServingPoolSpec.model_validate({"nodeSelector": {"a": "b"}, "costPerHour": "2"}), 100, 10)
    return ServiceView(
        now_seconds=now_seconds, name=f"m{index}", namespace="ns", generation=1, spec=spec,
        status=InferenceServiceStatus(), pool=pool, pods=pods, replicas=2, settings=SETTINGS, model_hash="r",
        metrics_unavailable=None, metrics_window_seconds=60,
    )  # fmt: skip


def _seconds_per_round(count: int) -> float:
    """Time of one decision for each of `count` services, once they have been seen before."""
    now = 1_700_000_000.0
    memories = [decide(view(i, now), LoopMemory())[1] for i in range(count)]
    views = [view(i, now + 15) for i in range(count)]
    at = time.perf_counter()
    for seen, memory in zip(views, memories, strict=True):
        decide(seen, memory)
    return time.perf_counter() - at


def run() -> list[Figure]:
    """One round of decisions, each made anew, and its growth as a ratio of the time per service."""
    small, large, huge = (_seconds_per_round(n) for n in (100, 1000, 10_000))
    return [
        at_most("one decision for each of 1,000 services", large * 1000, "ms", 100),
        at_most("time per decision at 1,000 services over 100", large / small / 10, "×", 1.5),
        at_most("time per decision at 10,000 services over 1,000", huge / large / 10, "×", 1.5),
    ]
