"""What one replica carries: the load test that a team would do before it sets the targets of an autoscaler."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from throughline.api.batching import BatchSettings
from throughline.simulate.server import Model, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from throughline.simulate.types import Truth

TEST_SECONDS = 240.0
MIN_REQUESTS = 4000
STEPS = 9
HAND_TUNED_SIZES = (1, 2, 4, 8, 16, 32, 64)
HAND_TUNED_DELAYS_MICROSECONDS = (0, 2000, 10_000)


@dataclass(frozen=True, slots=True)
class Level:
    """One replica under a steady Poisson load. Means over time; `usage` is the busy share of the instances."""

    per_second: float
    p99_us: float
    usage: float
    waiting: float
    in_flight: float


def level(truth: Truth, settings: BatchSettings, per_second: float, seed: int = 7) -> Level:
    """Measure one load."""
    rng = np.random.default_rng(seed)
    seconds = max(TEST_SECONDS, MIN_REQUESTS / per_second)
    arrivals = np.sort(rng.uniform(0.0, seconds, int(per_second * seconds)))
    noise = np.exp(rng.normal(-(truth.noise**2) / 2, truth.noise, 4096)) if truth.noise else np.ones(1)
    model = Model(settings, 0.0)
    tally = Tally.over_time(seconds, seconds, np.inf, noise)
    model.take(arrivals)
    started = model.run(np.inf, truth, tally, np.zeros(truth.parallel))
    if started is None:
        raise ValueError(f"no request in {seconds:.0f} s at {per_second}/s")
    finish, latency = started
    length = float(finish.max())
    busy, latency_us, queue_us = (float(model.open[:, i].sum()) for i in (2, 3, 4))
    late = np.sort(latency[latency.size // 10 :])  # the start from empty is not the steady state
    return Level(
        per_second,
        float(late[int(0.99 * late.size)]),
        busy / length / settings.instances,
        queue_us / 1e6 / length,
        latency_us / 1e6 / length,
    )


@lru_cache(maxsize=1024)
def capacity(truth: Truth, settings: BatchSettings, slo_us: float) -> float:
    """Most requests per second with p99 within the SLO, to about a per cent; 0 where a trickle is already too slow."""
    size = max(1, settings.max_batch_size)
    high = 1e6 * size * settings.instances / truth.service_us(size, settings.instances)
    if truth.service_us(1, settings.instances) > slo_us:
        return 0.0
    low = 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if level(truth, settings, middle).p99_us <= slo_us:
            low = middle
        else:
            high = middle
    return low


def best_settings(
    truth: Truth, slo_us: float, sizes: Iterable[int], delays: Sequence[int], counts: Sequence[int]
) -> BatchSettings:
    """The settings with the highest capacity, as a careful sweep would find them; one item has no use for a delay."""
    space = [
        BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=count)
        for size in sizes
        for delay in (delays if size > 1 else delays[:1])
        for count in counts
    ]
    return max(space, key=lambda settings: capacity(truth, settings, slo_us))


@lru_cache(maxsize=256)
def hand_tuned(truth: Truth, slo_us: float, max_instances: int) -> BatchSettings:
    """The best of the usual settings."""
    counts = range(1, max_instances + 1)
    return best_settings(truth, slo_us, HAND_TUNED_SIZES, HAND_TUNED_DELAYS_MICROSECONDS, counts)
