"""The contenders, each set up as its own documentation advises, from the same load test of one replica.

Targets are what a replica shows at `HEADROOM` of its capacity; BACC gets all of it, because its margin is its headroom.
Every autoscaler comes twice: unbatched, and with batch settings tuned by hand; so the gain of deciding batches and
replicas together is told apart from the gain of batching.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.simulate.autoscalers.bacc import Bacc, BudgetPace
from throughline.simulate.autoscalers.fixed import Fixed
from throughline.simulate.autoscalers.hpa import SYNC_SECONDS, Hpa, queue_length, utilization
from throughline.simulate.autoscalers.keda import Keda, request_rate
from throughline.simulate.autoscalers.kpa import Kpa
from throughline.simulate.autoscalers.wva import Wva
from throughline.simulate.loadtest import capacity, hand_tuned, level
from throughline.simulate.run import run_autoscaler

if TYPE_CHECKING:
    from throughline.simulate.run import Case, Result
    from throughline.simulate.types import Autoscaler, Look, Traffic

# Kubernetes' and KEDA's guides leave it to the user; 80 % is the HPA's own default for CPU.
HEADROOM = 0.8
UNBATCHED = BatchSettings(max_batch_size=1, instances=1)
FIRST_SECONDS = 120.0
ALLOWED_VIOLATIONS = 0.01  # what an SLO on p99 allows


def contenders(case: Case, settings: BatchSettings, suffix: str) -> list[Autoscaler]:
    """All autoscalers on these settings. Targets by a load test of one replica at its first cost."""
    truth, environment, most = case.truth, case.environment, case.environment.pool_replicas
    # A replica that is ordered now starts, and has to suffice until the next one can be ordered.
    horizon_seconds = environment.pod_start_seconds + environment.model_load_seconds + SYNC_SECONDS
    carried = capacity(truth, settings, case.slo_us)
    if carried <= 0:
        return []
    full = level(truth, settings, carried)
    at = level(truth, settings, HEADROOM * carried)

    def under_way(look: Look) -> float | None:
        seen = look.in_flight()
        return None if seen is None or look.ready == 0 else seen / look.ready / full.in_flight

    return [
        # Small batches keep an instance as busy as full ones, so the share says little: no target above the HPA's own.
        Hpa(settings, utilization, min(HEADROOM, at.usage), 1, most, name=f"HPA usage{suffix}"),
        # Below one waiting request the HPA would answer to noise.
        Hpa(settings, queue_length, max(1.0, at.waiting), 1, most, name=f"HPA queue{suffix}"),
        Keda(settings, request_rate(), HEADROOM * carried, 1, most, name=f"KEDA{suffix}"),
        Kpa(settings, max(1.0, full.in_flight), 1, most, name=f"KPA{suffix}"),
        Wva(settings, under_way, 1, most, queue_threshold=max(5.0, full.waiting), name=f"WVA{suffix}"),
        # At full capacity, because the conformal margin is the headroom.
        Bacc(settings, carried, 1, most, horizon_seconds, error_budget(case.traffic), name=f"BACC{suffix}"),
    ]


def error_budget(traffic: Traffic) -> BudgetPace:
    """The budget of the time that counts, which begins after the warm-up."""
    counted = traffic.duration_seconds - traffic.warmup_seconds
    if counted <= 0.0:
        return BudgetPace(ALLOWED_VIOLATIONS, traffic.duration_seconds)
    return BudgetPace(ALLOWED_VIOLATIONS, counted, start_seconds=traffic.warmup_seconds)


def first_replicas(case: Case, settings: BatchSettings) -> int:
    """What the load test says for the first minutes of the trace: nobody starts from an accident."""
    early = case.traffic.arrivals.searchsorted(FIRST_SECONDS) / FIRST_SECONDS
    carried = capacity(case.truth, settings, case.slo_us)
    if carried <= 0:
        return 1
    return min(case.environment.pool_replicas, max(1, math.ceil(early / (HEADROOM * carried))))


def run_contenders(case: Case, settings: BatchSettings, suffix: str) -> list[Result]:
    start = first_replicas(case, settings)
    return [
        run_autoscaler(case, c, replicas=start, sampling=isinstance(c, Kpa)) for c in contenders(case, settings, suffix)
    ]


def fewest(case: Case, settings: BatchSettings, low: int, high: int) -> Result:
    """The fewest constant replicas that keep the SLO over the whole trace; the most there may be where none do."""

    def constant(replicas: int) -> Result:
        return run_autoscaler(case, Fixed(settings, replicas, name="constant, by hindsight"), replicas=replicas)

    best, most = None, high
    while low <= high:
        middle = (low + high) // 2
        found = constant(middle)
        if found.violations <= ALLOWED_VIOLATIONS:
            best, high = found, middle - 1
        else:
            low = middle + 1
    return best or constant(most)


def hindsight(case: Case, max_instances: int) -> Result:
    """The fewest, on settings tuned by hand."""
    return fewest(case, hand_tuned(case.truth, case.slo_us, max_instances), 1, case.environment.pool_replicas)
