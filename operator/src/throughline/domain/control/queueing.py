"""Predict the latency and capacity of one replica: a queue served in batches by several instances.

Triton's dynamic batcher starts a batch as soon as an instance is free, with up to `max_batch_size` of what waits, or
holds it back until it is full or its oldest request has waited `max_queue_delay_microseconds`. Under load, batches
form by themselves out of what arrives during an execution. The formulas are the usual approximations of a bulk-service
queue M/D^[1,B]/k (Bailey 1954, doi:10.1111/j.2517-6161.1954.tb00149.x; heavy-traffic tail after Kingman 1962): good
to some tens of per cent, which is why every prediction is multiplied by the measured error before it is used.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughline.api.inferenceservice import BatchSettings
    from throughline.domain.control.service_time import Curve

# Beyond this share of the saturation throughput a queue takes minutes to settle, and any burst breaks the SLO.
MAX_UTILIZATION = 0.92
TAIL = 0.01  # 1 − 0.99
_NORMAL_99 = 2.326
_BISECTIONS = 18


def largest_batch(settings: BatchSettings) -> int:
    """Items in a full batch; max_batch_size 0 is a model without a batch dimension, which executes one at a time."""
    return max(1, settings.max_batch_size)


def saturation_per_second(curve: Curve, settings: BatchSettings) -> float:
    """Items per second with every batch full and every instance busy."""
    batch = largest_batch(settings)
    return 1e6 * settings.instances * batch / max(1.0, curve.service_us(batch, settings.instances))


def mean_batch(curve: Curve, settings: BatchSettings, rate_per_second: float) -> float:
    """The batch size that reproduces itself: as many items as arrive while one such batch is executed."""
    limit, k = largest_batch(settings), settings.instances
    rate_us = rate_per_second / 1e6
    inflation = 1.0 + curve.contention * (k - 1)
    spare = k - rate_us * curve.beta_us * inflation
    natural = rate_us * curve.alpha_us * inflation / spare if spare > 0 else math.inf
    held_back = 1.0 + rate_us * settings.max_queue_delay_microseconds if limit > 1 else 1.0
    return min(float(limit), max(1.0, natural, held_back))


def p99_us(curve: Curve, settings: BatchSettings, rate_per_second: float, dispersion: float = 1.0) -> float:
    """99th percentile of the time from arrival to response, in microseconds; infinite where the queue grows.

    `rate_per_second`: items per second on this replica. `dispersion`: variance over mean of the arrivals in a short
    interval (1 for Poisson).
    """
    limit, k = largest_batch(settings), settings.instances
    utilization = rate_per_second / saturation_per_second(curve, settings)
    if utilization >= 1.0:
        return math.inf
    rate_us = rate_per_second / 1e6
    batch = mean_batch(curve, settings, rate_per_second)
    cycle_us = curve.service_us(batch, k) / k
    # The batch a late request finds itself in: those that came during a long cycle, and itself. A long cycle makes the
    # next batch large too, so the batch sizes are a first-order autoregression with this coefficient.
    feedback = min(0.99, rate_us * curve.beta_us * (1.0 + curve.contention * (k - 1)) / k)
    arrivals = rate_us * cycle_us
    unbounded = 1.0 + arrivals + _NORMAL_99 * math.sqrt(dispersion * arrivals / (1.0 - feedback**2))
    high = max(batch, min(float(limit), unbounded))
    service_us = curve.service_us(high, k)
    busy = min(1.0, rate_us * curve.service_us(1, k) / k) ** k
    wait_us = service_us / k * max(0.0, 1.0 - TAIL / busy) if busy > TAIL else 0.0
    overflow_us = 0.0
    if unbounded > limit:
        # What full batches leave behind: an exponential tail of whole further cycles.
        full_cycle_us = curve.service_us(limit, k) / k
        mean_arrivals = rate_us * full_cycle_us
        left_behind = math.log(1 / TAIL) * dispersion * mean_arrivals / (2.0 * (limit - mean_arrivals))
        overflow_us = min(1.0, 2.0 * (unbounded - limit) / limit) * left_behind / limit * full_cycle_us
    held_us = 0.0
    if limit > 1 and rate_us > 0:
        fill_us = (limit - 1) / rate_us
        held_us = max(0.0, min(settings.max_queue_delay_microseconds, fill_us) - wait_us)
    return service_us + wait_us + overflow_us + held_us


@lru_cache(maxsize=16384)
def capacity_per_second(curve: Curve, settings: BatchSettings, limit_us: float, dispersion: float = 1.0) -> float:
    """Most items per second that one replica serves with p99 at most `limit_us`; 0 where even an idle one is slower."""
    if p99_us(curve, settings, 1e-6, dispersion) > limit_us:
        return 0.0
    low, high = 0.0, MAX_UTILIZATION * saturation_per_second(curve, settings)
    if p99_us(curve, settings, high, dispersion) <= limit_us:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if p99_us(curve, settings, middle, dispersion) <= limit_us:
            low = middle
        else:
            high = middle
    return low


# Share of the even split that k > 1 instances reach when nothing holds a batch back: groups that finish together merge.
# 0.70 to 0.87 in the discrete-event model of the tests.
_UNEVEN = 0.8


def closed_loop_per_second(curve: Curve, settings: BatchSettings, in_flight: float) -> float:
    """Items per second when `in_flight` items are always under way (callers that wait for their answers).

    Without a queue delay they fall into one group more than there are instances: the free instance takes what waits
    at once, and those just answered come back too late for it. With a delay they join into as few groups as
    max_batch_size allows; a group that the callers cannot fill is held back for the whole delay.
    """
    limit, k = largest_batch(settings), settings.instances
    in_flight = max(1.0, in_flight)
    delay_us = settings.max_queue_delay_microseconds if limit > 1 else 0
    if in_flight >= limit * (k + 1):
        return saturation_per_second(curve, settings)
    if delay_us == 0:
        batch = min(float(limit), max(1.0, in_flight / (k + 1)))
        busy = min(1.0, in_flight / (batch * k)) * (_UNEVEN if k > 1 and batch > 1.0 else 1.0)
        return 1e6 * k * busy * batch / max(1.0, curve.service_us(batch, k))
    groups = min(k, math.ceil(in_flight / limit))
    batch = min(float(limit), in_flight / groups)
    held_us = 0.0 if batch >= limit else float(delay_us)
    return 1e6 * groups * batch / (curve.service_us(batch, k) + held_us)
