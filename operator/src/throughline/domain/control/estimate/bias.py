"""The bias of a prediction: measured over predicted p99 of the settings in force, as far as the latency tells of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from throughline.domain.control.model.queueing import p99_us
from throughline.domain.control.observe.observation import SUMMARY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.status import ServiceTime
    from throughline.domain.control.estimate.forecast import ArrivalSample
    from throughline.domain.control.model.service_time_model import ServiceTimeModel
    from throughline.domain.control.observe.demand import Demand

    Biases = tuple[tuple[BatchSettings, float], ...]

MIN_REQUESTS_JUDGED = 100.0
# The latency summary still covers a load that was this many times as high so recently: it is scraped, and queried, up
# to half a minute later.
LOAD_DROPPED = 1.25
LOOKBACK_SECONDS = SUMMARY_SECONDS + 30.0
BIAS_BOUNDS = (0.4, 4.0)
# Latency below the first share of the SLO has no weight for the bias, above the second full weight.
RELEVANT_SHARES = (0.4, 0.8)
# Settings that were rolled back are assumed to be this many times slower than predicted, until they are measured again.
WORSE_BIAS = 1.3
BIASES_KEPT = 8


def tells_of_bias(demand: Demand, slo_us: float) -> bool:
    """Whether the measured p99 says anything of the predicted one. How far a prediction is off near the SLO is what
    counts; far below it, it says next to nothing of that.
    """
    p99_us = demand.p99_us
    return (
        p99_us is not None
        and p99_us > RELEVANT_SHARES[0] * slo_us
        and not demand.overloaded
        and demand.requests_per_second * SUMMARY_SECONDS >= MIN_REQUESTS_JUDGED
    )


def load_dropped(samples: Sequence[ArrivalSample]) -> bool:
    """Whether the latency summary still looks back to a load that was clearly higher than it is now."""
    if not samples:
        return False
    now = samples[-1]
    since, most = now.at_seconds - LOOKBACK_SECONDS, LOAD_DROPPED * now.per_second
    for sample in reversed(samples):
        if sample.at_seconds < since:
            break
        if sample.per_second > most:
            return True
    return False


def update_bias(
    bias: float, demand: Demand, slo_us: float, curve: ServiceTimeModel, settings: BatchSettings, disp: float,
    ready: int, since_last_seconds: float, samples: Sequence[ArrivalSample],
) -> float:  # fmt: skip
    """Measured over predicted p99 of the settings in force, smoothed over as long as the summary looks back."""
    if demand.p99_us is None or ready == 0 or since_last_seconds <= 0.0 or not tells_of_bias(demand, slo_us):
        return bias
    if load_dropped(samples):
        return bias
    low, high = RELEVANT_SHARES
    relevance = min(1.0, (demand.p99_us / slo_us - low) / (high - low))
    per_replica = demand.served_per_second / ready * demand.skew
    ratio = min(max(demand.p99_us / p99_us(curve, settings, per_replica, disp), BIAS_BOUNDS[0]), BIAS_BOUNDS[1])
    return bias + relevance * min(1.0, since_last_seconds / SUMMARY_SECONDS) * (ratio - bias)


def with_bias(biases: Biases, settings: BatchSettings, bias: float) -> Biases:
    """The biases with a new one."""
    return (*(e for e in biases if e[0] != settings), (settings, bias))[-BIASES_KEPT:]


def bias_of(biases: Biases, settings: BatchSettings) -> float | None:
    """As measured; None: it never was."""
    return next((bias for known, bias in biases if known == settings), None)


def with_worse(biases: Biases, settings: BatchSettings) -> Biases:
    """The biases, where the settings were rolled back."""
    known = bias_of(biases, settings)
    return with_bias(biases, settings, WORSE_BIAS * (1.0 if known is None else max(1.0, known)))


def default_bias(biases: Sequence[tuple[BatchSettings, float]], learned: ServiceTime) -> float:
    """What to expect of settings that were never in force: the mean of those that were, else the persisted one."""
    if not biases:
        return learned.error_permille / 1000
    return math.exp(sum(math.log(e) for _, e in biases) / len(biases))
