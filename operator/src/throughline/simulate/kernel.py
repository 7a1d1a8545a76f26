"""The inner loop: Triton's dynamic batcher over one queue, one batch at a time.

Without a queue delay a free instance takes what waits, up to max_batch_size. With one, the batch is closed before: when
its oldest request has waited for the delay, but not before the batch ahead of it has started; and what comes while it
waits for an instance joins it only where that fills it. So a busy server with a delay makes each request wait for one
batch more than one without. Source: triton-inference-server/core, dynamic_batch_scheduler.cc (BatcherThread, Enqueue:
the batcher is woken when the queue reaches next_preferred_batch_size_, which is max_batch_size when none is declared)
and payload.cc; checked against the real server in docs/simulator.md. Compiled, because an hour of traffic is millions
of requests.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LATENCY_BINS = 220
# Bin i holds latencies from LOWEST_US × GROWTH^i; 220 bins of 8 % reach from 0.1 ms to more than half an hour.
LOWEST_US = 100.0
GROWTH = 1.08
_LOG_GROWTH = math.log(GROWTH)


@njit(cache=True)
def latency_bin(latency_us: float) -> int:
    """The histogram's bin of a latency in microseconds."""
    if latency_us <= LOWEST_US:
        return 0
    return min(LATENCY_BINS - 1, int(math.log(latency_us / LOWEST_US) / _LOG_GROWTH) + 1)


def bin_upper_us(index: int) -> float:
    """Upper edge of a bin, in microseconds."""
    return LOWEST_US * GROWTH**index


@njit(cache=True)
def serve(  # noqa: C901, PLR0912, PLR0915 - one loop: a call inside it would be compiled to the same, and read worse
    waiting: Floats,
    free_at: Floats,
    device_at: Floats,
    last_start: Floats,
    max_batch: int,
    delay_seconds: float,
    service_seconds: Floats,
    noise: Floats,
    noise_from: int,
    until: float,
    timeout_seconds: float,
    slo_us: float,
    bucket_seconds: float,
    histogram: Counts,
    over: Counts,
    lost: Counts,
    finish: Floats,
    latency: Floats,
    batches: Floats,
) -> tuple[int, int, int]:
    """Start every batch that starts before `until` (seconds).

    waiting: sorted arrival times, seconds. free_at: when each instance is free. device_at: when each slot of the device
    is free, which the instances share; empty for no sharing. last_start[0]: when the newest batch started. These three
    are changed in place. service_seconds[b]: mean time of a batch of b. noise: factors, taken in turn.
    Counted by the bucket of the arrival: histogram[bucket, bin], over[bucket] (answers over the SLO) and lost[bucket]
    (requests that waited longer than timeout_seconds). Written in order: finish and latency of each request (seconds,
    µs; negative for a lost one), and rows of batches: finish, size, service seconds, sums of latency and queue µs,
    start.
    Returns (requests started or given up, batches started, next noise index).
    """
    taken = 0
    rows = 0
    count = waiting.size
    noise_at = noise_from
    while taken < count:
        slot = 0
        for i in range(1, free_at.size):
            if free_at[i] < free_at[slot]:
                slot = i
        head = waiting[taken]
        closed = -math.inf  # when the batch takes no more
        if delay_seconds > 0.0:
            full_at = waiting[taken + max_batch - 1] if taken + max_batch - 1 < count else math.inf
            closed = max(last_start[0], min(head + delay_seconds, full_at))
        start = max(free_at[slot], head, closed)
        if start > until:
            break
        if start - head > timeout_seconds:
            lost[min(int(head / bucket_seconds), lost.size - 1)] += 1
            finish[taken] = start
            latency[taken] = -1.0
            taken += 1
            continue
        size = 1
        if delay_seconds <= 0.0:
            while size < max_batch and taken + size < count and waiting[taken + size] <= start:
                size += 1
        else:
            while size < max_batch and taken + size < count and waiting[taken + size] <= closed:
                size += 1
            # So many more wake the batcher, which then fills it.
            more = max_batch
            if head + delay_seconds <= last_start[0]:  # closed at once: the first that comes still wakes it
                more -= size - 1
                if size < max_batch and taken + size < count and waiting[taken + size] <= start:
                    size += 1
            if size < max_batch and taken + size + more - 1 < count and waiting[taken + size + more - 1] <= start:
                size = max_batch
        last_start[0] = start
        service = service_seconds[size] * noise[noise_at]
        noise_at = noise_at + 1 if noise_at + 1 < noise.size else 0
        begin = start
        if device_at.size:
            begin = max(start, device_at[slot % device_at.size])
        end = begin + service
        if device_at.size:
            device_at[slot % device_at.size] = end
        free_at[slot] = end
        latency_sum = 0.0
        queue_sum = 0.0
        for i in range(taken, taken + size):
            took_us = (end - waiting[i]) * 1e6
            finish[i] = end
            latency[i] = took_us
            latency_sum += took_us
            queue_sum += (start - waiting[i]) * 1e6
            bucket = min(int(waiting[i] / bucket_seconds), over.size - 1)
            histogram[bucket, latency_bin(took_us)] += 1
            if took_us > slo_us:
                over[bucket] += 1
        batches[rows, 0] = end
        batches[rows, 1] = size
        batches[rows, 2] = end - start
        batches[rows, 3] = latency_sum
        batches[rows, 4] = queue_sum
        batches[rows, 5] = start
        rows += 1
        taken += size
    return taken, rows, noise_at


def percentile_us(histogram: Counts, q: float) -> float | None:
    """Upper edge of the bin of the q-quantile, in microseconds; None where nothing was counted."""
    total = histogram.sum()
    if total == 0:
        return None
    return bin_upper_us(int(np.searchsorted(np.cumsum(histogram), q * total)))
