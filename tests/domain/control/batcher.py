"""Triton's dynamic batcher as the oracle of the predictor's tests: the simulator's own, which is itself checked against
the real server (docs/simulator.md).
"""

import numpy as np
from throughline.simulate.server import Model, Tally
from throughline.simulate.types import Truth


def simulate(curve, settings, rate_per_second, *, requests=20_000, seed=1):
    """Poisson arrivals of single items; returns (p99 latency in µs, mean latency in µs, mean batch)."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate_per_second, requests))
    model = Model(settings, 0.0)
    model.take(arrivals)
    truth = Truth(curve.alpha_us, curve.beta_us, curve.contention, noise=0.0)
    tally = Tally.over_time(float(arrivals[-1]), 60.0, np.inf, np.ones(1))
    _, latency = model.run(np.inf, truth, tally, np.zeros(0))
    late = np.sort(latency[requests // 10 :])
    return late[int(0.99 * late.size)], late.mean(), requests / len(model.open)
