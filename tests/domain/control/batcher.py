"""A discrete-event model of Triton's dynamic batcher, as the oracle of the predictor's tests."""

import heapq
import random
from collections import deque


def simulate(curve, settings, rate_per_second, *, requests=20_000, seed=1):
    """Poisson arrivals of single items; returns (p99 latency in µs, throughput per second, mean batch)."""
    rng = random.Random(seed)
    limit, delay, k = max(1, settings.max_batch_size), settings.max_queue_delay_microseconds, settings.instances
    if limit == 1:
        delay = 0
    arrivals, now = [], 0.0
    for _ in range(requests):
        now += rng.expovariate(rate_per_second / 1e6)
        arrivals.append(now)
    queue, free, busy, latencies, batches = deque(), k, [], [], 0
    index, now = 0, 0.0
    while len(latencies) < requests:
        # start what may start
        while free and queue and (len(queue) >= limit or now >= queue[0] + delay - 1e-6):
            batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
            free -= 1
            batches += 1
            heapq.heappush(busy, (now + curve.service_us(len(batch), k), batches, batch))
        next_times = []
        if index < requests:
            next_times.append(arrivals[index])
        if busy:
            next_times.append(busy[0][0])
        if free and queue:
            next_times.append(queue[0] + delay)
        now = min(next_times)
        if index < requests and arrivals[index] <= now:
            queue.append(arrivals[index])
            index += 1
        while busy and busy[0][0] <= now:
            _, _, batch = heapq.heappop(busy)
            free += 1
            latencies.extend(now - a for a in batch)
    latencies = sorted(latencies[requests // 10 :])
    return latencies[int(0.99 * len(latencies))], 1e6 * requests / now, requests / batches


def simulate_closed(curve, settings, clients, *, think_us=500.0, executions=4000):
    """`clients` callers that each send again `think_us` after an answer; returns throughput per second."""
    limit, delay, k = max(1, settings.max_batch_size), settings.max_queue_delay_microseconds, settings.instances
    if limit == 1:
        delay = 0
    rng = random.Random(2)
    events = [(rng.random() * think_us, i, "arrive", None) for i in range(clients)]
    heapq.heapify(events)
    queue, free, done, batches, now, n = deque(), k, 0, 0, 0.0, clients
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
        while free and queue and (len(queue) >= limit or now >= queue[0] + delay - 1e-6):
            size = min(limit, len(queue))
            for _ in range(size):
                queue.popleft()
            free -= 1
            batches += 1
            heapq.heappush(events, (now + curve.service_us(size, k), n := n + 1, "finish", size))
    return 1e6 * done / now
