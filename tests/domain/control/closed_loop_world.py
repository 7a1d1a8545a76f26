"""The small world with closed-loop clients, and servers as they are: an execution has a part on the
host that others overlap with, a device that runs so many at a time, and a gap before its instance takes the next batch.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import linear_regression

from world import Pod, World


@dataclass(frozen=True)
class Server:
    """Microseconds. The device takes `alpha + beta·b` for a batch, `parallel` of them at a time."""

    alpha: float
    beta: float
    parallel: int
    host: float = 0.0  # of an execution, before it asks for the device
    host_item: float = 0.0
    gap: float = 0.0  # after an execution, before its instance takes the next batch; mean
    back: float = 0.0  # from an answer to the client's next request at the server; mean
    launches: bool = False  # the host's part goes on while the device works: kernels are launched ahead

    def slower(self, factor):
        """The same behaviour at fewer events per second."""
        times = {n: factor * getattr(self, n) for n in ("alpha", "beta", "host", "host_item", "gap", "back")}
        return Server(parallel=self.parallel, launches=self.launches, **times)


@dataclass
class ClosedLoopPod(Pod):
    device: list = field(default_factory=list)  # when each of its slots is free
    closed: deque = field(default_factory=deque)  # the batch that takes no more and waits for an instance
    busy: int = 0
    scrapes: deque = field(default_factory=deque)  # (when, requests that waited)


class ClosedLoopWorld(World):
    """`clients` send again when they have their answer, from the pod that their connection leads to; connections are
    renewed every five seconds, each to a pod by chance. Poisson arrivals of `rate` come besides, while fewer than
    `most` are in flight, as a load generator sends them.
    """

    RENEWED_SECONDS = 5.0

    def __init__(self, server, rate=0.0, *, clients=0, most=math.inf, **more):
        super().__init__(None, rate, **more)
        self.server, self.clients, self.most = server, 0, most
        self.events, self.number = [], 0
        self.sent = self.answered = 0
        self.homes = {}  # client → (pod, until when)
        self.set_clients(clients)

    def set_clients(self, clients):
        """From now on so many clients; those above stop after their answer."""
        for client in range(self.clients, clients):
            self._push(self.now + self.rng.random() * 0.05, "send", client)
        self.clients = clients

    def _push(self, at, kind, *what):
        self.number += 1
        heapq.heappush(self.events, (at, self.number, kind, *what))

    def _soon(self, mean_us):
        return mean_us / 1e6 * self.rng.uniform(0.5, 1.5)

    def _home(self, client, serving):
        pod, until = self.homes.get(client, (None, 0.0))
        if until <= self.now or pod not in serving:
            pod = self.rng.choice(serving)
            self.homes[client] = (pod, self.now + self.RENEWED_SECONDS * self.rng.uniform(0.9, 1.1))
        return pod

    # ------------------------------------------------------------------ the server

    def device_us(self, batch):
        return self.server.alpha + self.server.beta * len(batch)

    def _start(self, pod, now):
        limit, k = max(1, pod.settings.max_batch_size), pod.settings.instances
        delay = pod.settings.max_queue_delay_microseconds / 1e6 if limit > 1 else 0.0
        while pod.queue or pod.closed:
            full = len(pod.queue) >= limit
            if not pod.closed and pod.queue and (full or now >= pod.queue[0][0] + delay - 1e-9):
                pod.closed.extend(pod.queue.popleft() for _ in range(min(limit, len(pod.queue))))
            if not pod.closed or pod.busy >= k:
                return
            while not delay and pod.queue and len(pod.closed) < limit:
                pod.closed.append(pod.queue.popleft())
            batch, s = list(pod.closed), self.server
            pod.closed.clear()
            pod.busy += 1
            if not pod.device:
                pod.device = [0.0] * s.parallel
            slot = min(range(s.parallel), key=pod.device.__getitem__)
            handed_over = now + (s.host + s.host_item * len(batch)) / 1e6
            begin = max(now if s.launches else handed_over, pod.device[slot])
            finish = max(handed_over, begin + pod.execution_seconds(self.device_us(batch), self.cold))
            pod.device[slot] = finish
            self._push(finish, "finish", pod, now, batch)

    def _finish(self, pod, began, batch):
        now = self.now
        compute = (now - began) * 1e6
        for i, (arrival, client) in enumerate(batch):
            latency = (now - arrival) * 1e6
            pod.log.append((now, latency, (began - arrival) * 1e6, compute, i == 0))
            self.latencies.append((now, latency))
            if client is not None and client < self.clients:
                self._push(now + self._soon(self.server.back), "send", client)
        self.answered += len(batch)
        executions, total = pod.statistics.get(len(batch), (0, 0))
        pod.statistics[len(batch)] = (executions + 1, total + int(compute * 1000))
        self._push(now + self._soon(self.server.gap), "free", pod)

    def _arrive(self, pod, client):
        pod.queue.append((self.now, client))
        self.sent += 1
        delay = pod.settings.max_queue_delay_microseconds
        if delay:
            self._push(self.now + delay / 1e6, "timer", pod)
        self._start(pod, self.now)

    def run(self, seconds, interval=5.0, *, deciding=True):
        """Traffic, and one decision every `interval` seconds."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            stop = self.now + interval
            rate = self.rate(self.now) if callable(self.rate) else self.rate
            self._push(stop, "stop")
            if rate > 0:
                self._push(self.now + self.rng.expovariate(rate), "come", stop, rate)
            serving = [p for p in self.pods if p.ready_at <= self.now]
            while True:
                self.now, _, kind, *what = heapq.heappop(self.events)
                if kind == "stop":
                    break
                self._happen(kind, what, serving)
            if deciding:
                self.decide()

    def _happen(self, kind, what, serving):
        if kind == "send":
            if serving:
                self._arrive(self._home(what[0], serving), what[0])
            else:
                self._push(self.now + 0.5, "send", what[0])
        elif kind == "come":
            stop, rate = what
            if serving and self.sent - self.answered < self.most:
                self._arrive(self.rng.choice(serving), None)
            at = self.now + self.rng.expovariate(rate)
            if at < stop:
                self._push(at, "come", stop, rate)
        elif kind == "finish":
            self._finish(*what)
        else:
            pod = what[0]
            pod.busy -= kind == "free"
            self._start(pod, self.now)

    def pod(self, name, start_seconds):
        return ClosedLoopPod(name, self.now, self.now + start_seconds, self.durable)


class HostWorld(ClosedLoopWorld):
    """Pods on one host, where each execution takes all of its cores: n at a time take n times as long, and more."""

    LOST = 0.12  # for each further execution

    def device_us(self, batch):
        under_way = sum(p.busy for p in self.pods)
        return super().device_us(batch) * under_way * (1.0 + self.LOST * (under_way - 1))

    def metrics(self, pod):
        """The queue's growth is the slope over the metrics window, as PromQL's deriv() has it."""
        found = super().metrics(pod)
        scrapes = pod.scrapes
        if not scrapes or scrapes[-1][0] < self.now:
            scrapes.append((self.now, found.pending))
        while scrapes[0][0] <= self.now - self.window:
            scrapes.popleft()
        slope = linear_regression(*zip(*scrapes, strict=True)).slope if len(scrapes) > 1 else 0.0
        return replace(found, pending_growth_rate=slope)


def throughput(server, settings, replicas, clients, *, seconds=60.0, seed=1):
    """Answers per second on that many replicas, with nothing decided."""
    world = ClosedLoopWorld(server, clients=clients, seed=seed)
    world.pods = [ClosedLoopPod(f"p{i}", world.now, world.now, settings) for i in range(replicas)]
    world.run(seconds / 4, seconds / 4, deciding=False)
    before = world.answered
    world.run(seconds, seconds, deciding=False)
    return (world.answered - before) / seconds
