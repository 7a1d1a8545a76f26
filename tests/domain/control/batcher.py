"""Triton's dynamic batcher as the oracle of the predictor's tests: the simulator's own, which is itself checked against
the real server (docs/simulator.md), and a model of callers that wait for their answers.
"""

import heapq
import random
from collections import deque

import numpy as np
from throughline.simulate.server import Model, Tally
from throughline.simulate.types import Truth


def simulate(curve, settings, rate_per_second, *, requests=20_000, seed=1):
    """Poisson arrivals of single items; returns (p99 latency in µs, throughput per second, mean batch)."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate_per_second, requests))
    model = Model(settings, 0.0)
    model.take(arrivals)
    truth = Truth(curve.alpha_us, curve.beta_us, curve.contention, noise=0.0)
    tally = Tally.over_time(float(arrivals[-1]), 60.0, np.inf, np.ones(1))
    finish, latency = model.run(np.inf, truth, tally, np.zeros(0))
    late = np.sort(latency[requests // 10 :])
    return late[int(0.99 * late.size)], requests / finish.max(), requests / len(model.open)


def simulate_closed(curve, settings, clients, *, think_us=500.0, executions=4000):  # noqa: C901 - one event loop
    """`clients` callers that each send again `think_us` after an answer; returns throughput per second.

    With a queue delay a batch is closed when its oldest request has waited for it and the batch ahead has started.
    """
    limit, delay, k = max(1, settings.max_batch_size), settings.max_queue_delay_microseconds, settings.instances
    if limit == 1:
        delay = 0
    rng = random.Random(2)
    events = [(rng.random() * think_us, i, "arrive", None) for i in range(clients)]
    heapq.heapify(events)
    queue, closed, free, done, batches, now, n = deque(), 0, k, 0, 0, 0.0, clients
    while batches < executions:
        now, _, kind, batch = heapq.heappop(events)
        if kind == "arrive":
            queue.append(now)
            heapq.heappush(events, (now + delay, n := n + 1, "timer", None))
        elif kind == "finish":
            free += 1
            done += batch
            for _ in range(batch):
                heapq.heappush(events, (now + think_us * (0.5 + rng.random()), n := n + 1, "arrive", None))
        while True:
            if not closed and queue and (len(queue) >= limit or now >= queue[0] + delay - 1e-6):
                closed = min(limit, len(queue))
                for _ in range(closed):
                    queue.popleft()
            if not closed or not free:
                break
            if not delay:  # open until it starts
                while closed < limit and queue:
                    queue.popleft()
                    closed += 1
            free -= 1
            batches += 1
            heapq.heappush(events, (now + curve.service_us(closed, k), n := n + 1, "finish", closed))
            closed = 0
    return 1e6 * done / now
